/* SPDX-License-Identifier: Apache-2.0 */

/* The QMP client against a QEMU played by the test: what a real one hardly ever does, or never should. */

#include "hypervisor/qemu/qmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}}, \"capabilities\": []}}\r\n"
#define NOT_YET 12345

typedef struct Fake {
        sd_event *event;
        VmmMonitor *monitor;
        int fd; /* QEMU's end */
        unsigned events[VMM_EVENT_LOST + 1];
        int result;
        char *text;
        bool free_when_done;
} Fake;

static void on_event(VmmMonitor *m, VmmEvent event, void *userdata) {
        ((Fake *) userdata)->events[event]++;
}

static void on_done(VmmMonitor *m, int error, const char *text, void *userdata) {
        Fake *f = userdata;

        f->result = error;
        free(f->text);
        f->text = text ? strdup(text) : NULL;
        if (f->free_when_done)
                f->monitor = qmp_free(f->monitor);
}

static void run(Fake *f) {
        while (sd_event_run(f->event, 0) > 0)
                ;
}

static void connect_fake(Fake *f, bool adopted) {
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        f->fd = pair[1];
        assert_int_equal(qmp_new(f->event, pair[0], adopted, on_event, f, &f->monitor), 0);
}

static void say(Fake *f, const char *text) {
        assert_return_code(write_all(f->fd, text, strlen(text)), 0);
        run(f);
}

/* The id of the last command that came, which must be the one named. */
static unsigned long long hear(Fake *f, const char *command) {
        char buf[4096], *id;
        ssize_t n;

        n = recv(f->fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
        assert_true(n > 0);
        buf[n] = 0;
        if (!strstr(buf, command))
                fail_msg("%s was not said, but %s", command, buf);
        id = strstr(buf, "\"id\":");
        assert_non_null(id);
        return strtoull(id + 5, NULL, 10);
}

static void say_answer(Fake *f, const char *what, unsigned long long id) {
        _cleanup_free_ char *line = strprintf("{%s, \"id\": %llu}\r\n", what, id);

        say(f, line);
}

static void negotiate(Fake *f) {
        connect_fake(f, false);
        say(f, GREETING);
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
}

static int setup(void **state) {
        Fake *f = calloc(1, sizeof(Fake));

        f->fd = -EBADF;
        f->result = NOT_YET;
        assert_return_code(sd_event_new(&f->event), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fake *f = *state;

        qmp_free(f->monitor);
        safe_close(f->fd);
        sd_event_unref(f->event);
        free(f->text);
        free(f);
        return 0;
}

static void ready_comes_after_the_negotiation_and_once(void **state) {
        Fake *f = *state;

        connect_fake(f, false);
        run(f);
        assert_int_equal(f->events[VMM_EVENT_READY], 0);
        say(f, GREETING);
        assert_int_equal(f->events[VMM_EVENT_READY], 0);
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        say(f, GREETING);
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
}

static void a_message_may_come_in_pieces_and_several_at_once(void **state) {
        Fake *f = *state;

        connect_fake(f, false);
        for (const char *c = GREETING; *c; c++)
                assert_int_equal(write(f->fd, c, 1), 1), run(f);
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        say(f, "{\"event\": \"STOP\"}\r\n{\"event\": \"RESUME\"}\r\n\r\n{\"event\": \"STOP\"}\n");
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        assert_int_equal(f->events[VMM_EVENT_PAUSED], 2);
        assert_int_equal(f->events[VMM_EVENT_RESUMED], 1);
}

static void the_reason_of_an_error_is_told(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        say_answer(f, "\"error\": {\"class\": \"GenericError\", \"desc\": \"It is too late.\"}", hear(f, "stop"));
        assert_int_equal(f->result, -EREMOTEIO);
        assert_string_equal(f->text, "It is too late.");
}

static void the_status_is_asked_for(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_int_equal(qmp_query_paused(f->monitor, on_done, f), 0);
        say_answer(f, "\"return\": {\"status\": \"paused\", \"singlestep\": false, \"running\": false}",
                   hear(f, "query-status"));
        assert_int_equal(f->result, 1);
        assert_int_equal(qmp_query_paused(f->monitor, on_done, f), 0);
        say_answer(f, "\"return\": {\"status\": \"running\", \"singlestep\": false, \"running\": true}",
                   hear(f, "query-status"));
        assert_int_equal(f->result, 0);
}

static void answers_to_somebody_else_are_not_ours(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        say(f, "{\"return\": {}, \"id\": 1}\r\n{\"return\": {}, \"id\": \"x\"}\r\n{\"return\": {}}\r\n");
        assert_int_equal(f->result, NOT_YET);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void shutdowns_are_told_apart(void **state) {
        Fake *f = *state;

        negotiate(f);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": \"host-qmp-quit\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_HOST_SHUTDOWN], 1);
        assert_int_equal(f->events[VMM_EVENT_GUEST_SHUTDOWN], 0);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_GUEST_SHUTDOWN], 1);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_GUEST_RESET], 1);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-panic\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_GUEST_PANIC], 1);
        say(f, "{\"event\": \"SOMETHING_NEW\", \"data\": {}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void lost_by(Fake *f, const char *line) {
        negotiate(f);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        say(f, line);
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
        assert_int_equal(f->result, -ECONNRESET);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), -ENOTCONN);
}

static void what_is_no_json_ends_the_connection(void **state) {
        lost_by(*state, "{\"event\": \"STOP\"\r\n");
}

static void what_is_no_object_ends_the_connection(void **state) {
        lost_by(*state, "[1, 2, 3]\r\n");
}

static void a_shutdown_without_data_ends_the_connection(void **state) {
        lost_by(*state, "{\"event\": \"SHUTDOWN\"}\r\n");
}

static void depth_does_not_exhaust_the_stack(void **state) {
        _cleanup_free_ char *line = new(char, 100002);

        memset(line, '[', 100000);
        line[100000] = '\n';
        line[100001] = 0;
        lost_by(*state, line);
}

static void a_line_without_end_is_cut_off(void **state) {
        _cleanup_free_ char *block = new(char, 65536);
        Fake *f = *state;

        negotiate(f);
        memset(block, 'x', 65536);
        for (unsigned i = 0; i < 64 && f->events[VMM_EVENT_LOST] == 0; i++) {
                (void) send(f->fd, block, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
                run(f);
        }
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
}

static void a_qemu_that_does_not_read_is_told_no_more_after_a_while(void **state) {
        Fake *f = *state;
        int r = 0;

        negotiate(f);
        for (unsigned i = 0; i < 1000 && r == 0; i++)
                r = qmp_command(f->monitor, "stop", on_done, f);
        assert_int_equal(r, -EAGAIN);
}

static void the_monitor_may_be_freed_while_calls_fail(void **state) {
        Fake *f = *state;

        negotiate(f);
        f->free_when_done = true;
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        f->fd = safe_close(f->fd);
        run(f);
        assert_int_equal(f->result, -ECONNRESET);
        assert_null(f->monitor);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void adopted_skips_the_rest_of_an_old_message(void **state) {
        Fake *f = *state;

        connect_fake(f, true);
        say(f, "running\": true}, \"id\": 77}\r\n{\"return\": {}, \"id\": 78}\r\n");
        assert_int_equal(f->events[VMM_EVENT_READY], 0);
        say_answer(f, "\"return\": {\"status\": \"running\", \"running\": true}", hear(f, "query-status"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
        /* From then on nonsense is nonsense. */
        say(f, "nonsense\r\n");
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
}

static void adopted_before_the_negotiation_makes_up_for_it(void **state) {
        Fake *f = *state;

        connect_fake(f, true);
        say_answer(f, "\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting capabilities negotiation\"}",
                   hear(f, "query-status"));
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
}

#define qmp_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                qmp_test(ready_comes_after_the_negotiation_and_once),
                qmp_test(a_message_may_come_in_pieces_and_several_at_once),
                qmp_test(the_reason_of_an_error_is_told),
                qmp_test(the_status_is_asked_for),
                qmp_test(answers_to_somebody_else_are_not_ours),
                qmp_test(shutdowns_are_told_apart),
                qmp_test(what_is_no_json_ends_the_connection),
                qmp_test(what_is_no_object_ends_the_connection),
                qmp_test(a_shutdown_without_data_ends_the_connection),
                qmp_test(depth_does_not_exhaust_the_stack),
                qmp_test(a_line_without_end_is_cut_off),
                qmp_test(a_qemu_that_does_not_read_is_told_no_more_after_a_while),
                qmp_test(the_monitor_may_be_freed_while_calls_fail),
                qmp_test(adopted_skips_the_rest_of_an_old_message),
                qmp_test(adopted_before_the_negotiation_makes_up_for_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
