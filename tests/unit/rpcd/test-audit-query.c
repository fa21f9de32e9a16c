/* SPDX-License-Identifier: Apache-2.0 */

/* audit.query, with a heroctl that says what the test wants and writes down what it was asked. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/call.h"
#include "rpcd/methods.h"
#include "rpcd/replica.h"
#include "rpcd/rpc.h"

static Rpcd rpcd;
static char directory[] = "/tmp/test-audit-query-XXXXXX";
static Caller *admin, *alice;

#define WORD(n) { n, PARAM_STRING, false, "Words.", 1, 64 }
static const Param params[] = {
        WORD("user_id"), WORD("vm_id"), WORD("action"), WORD("since"), WORD("until"), { "limit", PARAM_INTEGER, false, "How many.", 1, 1000 },
};
static const Method method = {
        "audit.query", "", ACCESS_KNOWN, .params = params, .n_params = ELEMENTSOF(params), .handler = method_audit_query,
};
static ReplicaVm web = { .name = (char *) "web", .id = (char *) "0123456789ab" };

const Method *method_find(const char *name) {
        return streq(name, method.name) ? &method : NULL;
}

void replica_need(Replica *r) {
}

bool replica_is_ready(const Replica *r) {
        return true;
}

ReplicaVm *replica_find(const Replica *r, const char *id_or_name) {
        return streq(id_or_name, web.id) ? &web : NULL;
}

ReplicaVm *replica_find_user(const Replica *r, const char *user) {
        return NULL;
}

ReplicaVm *replica_find_path(const Replica *r, const char *path) {
        return NULL;
}

const char *replica_vm_json(ReplicaVm *vm, size_t *ret_size) {
        return NULL;
}

const char *replica_user_json(ReplicaVm *vm, size_t *ret_size) {
        return NULL;
}

static void write_file(const char *name, const char *text) {
        _cleanup_free_ char *path = strprintf("%s/%s", directory, name);
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, 0755), 0);
}

static void heroctl_does(const char *script) {
        _cleanup_free_ char *text = strprintf("#!/bin/sh\necho \"$*\" > %s/asked\n%s\n", directory, script);

        write_file("heroctl", text);
}

static char *asked(void) {
        _cleanup_free_ char *path = strprintf("%s/asked", directory);
        char buf[1024] = "";
        FILE *f = fopen(path, "re");

        assert_non_null(f);
        assert_non_null(fgets(buf, sizeof(buf), f));
        fclose(f);
        buf[strcspn(buf, "\n")] = 0;
        return strdup(buf);
}

typedef struct Answer {
        char *text;
        unsigned n;
} Answer;

static void on_done(char *response, size_t size, void *userdata) {
        Answer *a = userdata;

        a->n++;
        a->text = response;
}

static void begin(Caller *caller, const char *words, Answer *a) {
        _cleanup_free_ char *body = strprintf("{\"jsonrpc\":\"2.0\",\"method\":\"audit.query\",\"params\":%s,\"id\":1}", words);
        RpcRequest *q;

        assert_int_equal(rpc_handle(&rpcd, caller, "http", "", body, strlen(body), on_done, a, &q), 0);
}

static json_t *ask(Caller *caller, const char *words) {
        Answer a = {};
        json_t *v;

        begin(caller, words, &a);
        while (a.n == 0)
                assert_true(sd_event_run(rpcd.event, UINT64_MAX) >= 0);
        assert_int_equal(a.n, 1);
        v = json_loads(a.text, 0, NULL);
        assert_non_null(v);
        free(a.text);
        return v;
}

static void check_asked(Caller *caller, const char *words, const char *expected) {
        _cleanup_free_ char *got = NULL;

        json_decref(ask(caller, words));
        got = asked();
        assert_string_equal(got, expected);
}

static void check_error(Caller *caller, const char *words, int code, const char *sentence) {
        json_t *v = ask(caller, words), *e = json_object_get(v, "error");
        const char *message = json_string_value(json_object_get(e, "message"));
        const char *detail = json_string_value(json_object_get(json_object_get(e, "data"), "detail"));

        if (json_integer_value(json_object_get(e, "code")) != code || (!strstr(strempty(message), sentence) &&
                                                                       !strstr(strempty(detail), sentence)))
                fail_msg("%s", json_dumps(v, 0));
        json_decref(v);
}

static void entries_have_the_names_of_the_wire(void **state) {
        json_t *v, *want;

        heroctl_does("echo '[{\"time\":\"2026-11-21T12:00:00Z\",\"uid\":12001,\"subject\":\"alice\",\"road\":\"bus\",\"action\":\"VM.Start\","
                     "\"vm\":\"web\",\"image\":null,\"user\":\"alice\",\"result\":\"ok\",\"duration-usec\":1500,\"error\":null}]'");
        v = ask(admin, "{}");
        want = json_loads("[{\"timestamp\":\"2026-11-21T12:00:00Z\",\"road\":\"bus\",\"uid\":12001,\"subject\":\"alice\","
                          "\"action\":\"VM.Start\",\"vm\":\"web\",\"user_id\":\"alice\",\"image\":null,\"result\":\"ok\",\"error\":null,"
                          "\"duration_ms\":1.5}]", 0, NULL);
        assert_true(json_equal(json_object_get(v, "result"), want));
        json_decref(v);
        json_decref(want);
        heroctl_does("echo '[]'");
        v = ask(admin, "{}");
        assert_int_equal(json_array_size(json_object_get(v, "result")), 0);
        assert_true(json_is_array(json_object_get(v, "result")));
        json_decref(v);
}

static void parameters_become_options(void **state) {
        heroctl_does("echo '[]'");
        check_asked(admin, "{}", "audit --json=short --lines=100");
        check_asked(admin, "{\"limit\":7,\"user_id\":\"bob\",\"vm_id\":\"0123456789ab\",\"action\":\"VM.*\",\"since\":\"1h\",\"until\":\"now\"}",
                    "audit --json=short --lines=7 --user=bob --vm=web --action=VM.* --since=1h --until=now");
        check_asked(admin, "{\"vm_id\":\"gone\"}", "audit --json=short --lines=100 --vm=gone");
}

static void who_is_no_administrator_sees_the_own_vm(void **state) {
        heroctl_does("echo '[]'");
        check_asked(alice, "{}", "audit --json=short --lines=100 --user=alice");
        check_asked(alice, "{\"user_id\":\"alice\"}", "audit --json=short --lines=100 --user=alice");
        check_error(alice, "{\"user_id\":\"bob\"}", RPC_PERMISSION_DENIED, "administrators");
        check_error(NULL, "{}", RPC_PERMISSION_DENIED, "can log in");
}

static void what_goes_wrong_is_said(void **state) {
        heroctl_does("echo \"--since=x is no time.\" >&2; exit 2");
        check_error(admin, "{\"since\":\"x\"}", RPC_INVALID_PARAMS, "is no time");
        heroctl_does("echo 'This host has no journal.' >&2; exit 1");
        check_error(admin, "{}", RPC_SERVER_ERROR, "no journal");
        heroctl_does("echo '[{\"time\"'");
        check_error(admin, "{}", RPC_SERVER_ERROR, "cannot be read");
        heroctl_does("kill -9 $$");
        check_error(admin, "{}", RPC_SERVER_ERROR, "cannot be read");
}

static void more_than_64_kib_are_read(void **state) {
        json_t *v;

        heroctl_does("echo '['; i=0; while [ $i -lt 999 ]; do echo '{\"time\":\"2026-11-21T12:00:00Z\",\"error\":\""
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"},'; "
                     "i=$((i+1)); done; echo '{}]'");
        v = ask(admin, "{\"limit\":1000}");
        assert_int_equal(json_array_size(json_object_get(v, "result")), 1000);
        json_decref(v);
}

static void only_so_many_read_at_a_time(void **state) {
        unsigned n = 0, refused = 0;
        Answer a[12] = {};

        heroctl_does("sleep 0.2; echo '[]'");
        for (size_t i = 0; i < ELEMENTSOF(a); i++) {
                begin(admin, "{}", a + i);
                refused += a[i].n; /* at once */
        }
        assert_int_equal(refused, 4);
        while (n < ELEMENTSOF(a)) {
                assert_true(sd_event_run(rpcd.event, UINT64_MAX) >= 0);
                n = 0;
                for (size_t i = 0; i < ELEMENTSOF(a); i++)
                        n += a[i].n;
        }
        for (size_t i = 0; i < ELEMENTSOF(a); i++) {
                assert_int_equal(!strstr(a[i].text, "LimitExceeded"), i < 8);
                free(a[i].text);
        }
        entries_have_the_names_of_the_wire(state);
}

static void one_user_reads_once_at_a_time(void **state) {
        Answer first = {}, second = {}, other = {};

        heroctl_does("sleep 0.2; echo '[]'");
        begin(alice, "{}", &first);
        begin(alice, "{}", &second);
        begin(admin, "{}", &other);
        assert_int_equal(first.n + other.n, 0);
        assert_int_equal(second.n, 1);
        assert_non_null(strstr(second.text, "LimitExceeded"));
        while (first.n == 0 || other.n == 0)
                assert_true(sd_event_run(rpcd.event, UINT64_MAX) >= 0);
        assert_null(strstr(first.text, "error"));
        assert_null(strstr(other.text, "error"));
        free(first.text);
        free(second.text);
        free(other.text);
        json_decref(ask(alice, "{}"));
}

static int set_up(void **state) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        admin = caller_new(0, "root", NULL, true);
        alice = caller_new(12001, "alice", NULL, false);
        if (!admin || !alice || !mkdtemp(directory) || setenv("HERO_BIN_DIR", directory, true) < 0)
                return -1;
        return sd_event_default(&rpcd.event) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        static const char *const names[] = { "heroctl", "asked" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = strprintf("%s/%s", directory, names[i]);

                (void) unlink(path);
        }
        (void) rmdir(directory);
        caller_unref(admin);
        caller_unref(alice);
        sd_event_unref(rpcd.event);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(entries_have_the_names_of_the_wire),
                cmocka_unit_test(parameters_become_options),
                cmocka_unit_test(who_is_no_administrator_sees_the_own_vm),
                cmocka_unit_test(what_goes_wrong_is_said),
                cmocka_unit_test(more_than_64_kib_are_read),
                cmocka_unit_test(only_so_many_read_at_a_time),
                cmocka_unit_test(one_user_reads_once_at_a_time),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
