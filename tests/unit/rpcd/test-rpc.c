/* SPDX-License-Identifier: Apache-2.0 */

/* The examples of the JSON-RPC 2.0 specification, as they are there, and what else may come in. The methods are the specification's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/call.h"
#include "rpcd/replica.h"
#include "rpcd/rpc.h"

static Rpcd rpcd;
static bool ready = true;
static Call *held;
static unsigned n_notified;

static void subtract(Call *c) {
        call_result(c, json_integer(call_integer(c, "minuend", 0) - call_integer(c, "subtrahend", 0)));
}

static void sum(Call *c) {
        call_result(c, json_integer(call_integer(c, "a", 0) + call_integer(c, "b", 0) + call_integer(c, "c", 0)));
}

static void notify(Call *c) {
        n_notified++;
        call_result(c, json_null());
}

static void get_data(Call *c) {
        call_result(c, json_pack("[s, i]", "hello", 5));
}

static void hold(Call *c) {
        held = c;
}

static Call *kept[256];
static unsigned n_kept;

static void keep(Call *c) {
        kept[n_kept++] = c;
}

static void go_wrong(Call *c) {
        call_bus_error(c, &SD_BUS_ERROR_MAKE_CONST("org.hero.Compute.Error.WrongState", "VM 'x' is \"stopped\"."));
}

#define INTEGER(n) { n, PARAM_INTEGER, false, "A number.", -1000, 1000 }
static const Param operands[] = { INTEGER("minuend"), INTEGER("subtrahend") };
static const Param summands[] = { INTEGER("a"), INTEGER("b"), INTEGER("c"), INTEGER("d"), INTEGER("e") };
static const Param typed[] = {
        { "s", PARAM_STRING, true, "A word.", 1, 4 }, { "b", PARAM_BOOLEAN, false, "Or not." }, { "n", PARAM_NUMBER, false, "How much.", 0, 9 },
        { "l", PARAM_STRINGS, false, "Words.", 0, 2 }, { "o", PARAM_OBJECT, false, "Both.", .members = operands, .n_members = 2 },
};
static const Method methods[] = {
        { "subtract", "", ACCESS_ANYBODY, .params = operands, .n_params = 2, .handler = subtract },
        { "sum", "", ACCESS_ANYBODY, .params = summands, .n_params = 5, .handler = sum },
        { "update", "", ACCESS_ANYBODY, .params = summands, .n_params = 5, .handler = notify },
        { "notify_hello", "", ACCESS_ANYBODY, .params = summands, .n_params = 1, .handler = notify },
        { "notify_sum", "", ACCESS_ANYBODY, .params = summands, .n_params = 5, .handler = notify },
        { "get_data", "", ACCESS_ANYBODY, .handler = get_data },
        { "typed", "", ACCESS_ANYBODY, .params = typed, .n_params = 5, .handler = notify },
        { "hold", "", ACCESS_ANYBODY, .handler = hold },
        { "fail", "", ACCESS_ANYBODY, .handler = go_wrong },
        { "known", "", ACCESS_KNOWN, .handler = get_data },
        { "keep", "", ACCESS_KNOWN, .handler = keep },
        { "admin", "", ACCESS_ADMIN, .handler = get_data },
};

const Method *method_find(const char *name) {
        for (unsigned i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i].name, name))
                        return methods + i;
        return NULL;
}

void replica_need(Replica *r) {
}

bool replica_is_ready(const Replica *r) {
        return ready;
}

ReplicaVm *replica_find(const Replica *r, const char *id_or_name) {
        return NULL;
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

typedef struct Answer {
        char *text;
        unsigned n;
} Answer;

static void on_done(char *response, size_t size, void *userdata) {
        Answer *a = userdata;

        a->n++;
        a->text = response;
        assert_int_equal(response ? strlen(response) : 0, size);
}

/* NULL: nothing was answered. */
static char *ask_as(Caller *caller, const char *body) {
        Answer a = {};
        RpcRequest *q;

        assert_int_equal(rpc_handle(&rpcd, caller, "http", "", body, strlen(body), on_done, &a, &q), 0);
        assert_null(q);
        assert_int_equal(a.n, 1);
        return a.text;
}

/* The answer without what the specification leaves to us: error.data. */
static json_t *strip(json_t *v) {
        json_t *e;
        size_t i;

        if (json_is_array(v))
                json_array_foreach(v, i, e)
                        strip(e);
        (void) json_object_del(json_object_get(v, "error"), "data");
        return v;
}

static void check(const char *body, const char *expected) {
        _cleanup_free_ char *text = ask_as(NULL, body);
        json_t *got, *want;

        if (!expected) {
                assert_null(text);
                return;
        }
        assert_non_null(text);
        got = json_loads(text, 0, NULL);
        want = json_loads(expected, 0, NULL);
        assert_non_null(got);
        assert_non_null(want);
        if (!json_equal(strip(got), want))
                fail_msg("%s\n  was answered %s\n  and not %s", body, text, expected);
        json_decref(got);
        json_decref(want);
}

static void the_examples_of_the_specification_are_answered_as_there(void **state) {
        check("{\"jsonrpc\": \"2.0\", \"method\": \"subtract\", \"params\": [42, 23], \"id\": 1}",
              "{\"jsonrpc\": \"2.0\", \"result\": 19, \"id\": 1}");
        check("{\"jsonrpc\": \"2.0\", \"method\": \"subtract\", \"params\": [23, 42], \"id\": 2}",
              "{\"jsonrpc\": \"2.0\", \"result\": -19, \"id\": 2}");
        check("{\"jsonrpc\": \"2.0\", \"method\": \"subtract\", \"params\": {\"subtrahend\": 23, \"minuend\": 42}, \"id\": 3}",
              "{\"jsonrpc\": \"2.0\", \"result\": 19, \"id\": 3}");
        check("{\"jsonrpc\": \"2.0\", \"method\": \"subtract\", \"params\": {\"minuend\": 42, \"subtrahend\": 23}, \"id\": 4}",
              "{\"jsonrpc\": \"2.0\", \"result\": 19, \"id\": 4}");
        check("{\"jsonrpc\": \"2.0\", \"method\": \"update\", \"params\": [1,2,3,4,5]}", NULL);
        check("{\"jsonrpc\": \"2.0\", \"method\": \"foobar\"}", NULL);
        check("{\"jsonrpc\": \"2.0\", \"method\": \"foobar\", \"id\": \"1\"}",
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32601, \"message\": \"Method not found\"}, \"id\": \"1\"}");
        check("{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\", \"baz]",
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32700, \"message\": \"Parse error\"}, \"id\": null}");
        check("{\"jsonrpc\": \"2.0\", \"method\": 1, \"params\": \"bar\"}",
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null}");
        check("[\n  {\"jsonrpc\": \"2.0\", \"method\": \"sum\", \"params\": [1,2,4], \"id\": \"1\"},\n  {\"jsonrpc\": \"2.0\", \"method\"\n]",
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32700, \"message\": \"Parse error\"}, \"id\": null}");
        check("[]", "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null}");
        check("[1]", "[{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null}]");
        check("[1,2,3]", "[{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null},"
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null},"
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null}]");
        check("[{\"jsonrpc\": \"2.0\", \"method\": \"sum\", \"params\": [1,2,4], \"id\": \"1\"},"
              "{\"jsonrpc\": \"2.0\", \"method\": \"notify_hello\", \"params\": [7]},"
              "{\"jsonrpc\": \"2.0\", \"method\": \"subtract\", \"params\": [42,23], \"id\": \"2\"},"
              "{\"foo\": \"boo\"},"
              "{\"jsonrpc\": \"2.0\", \"method\": \"foo.get\", \"params\": {\"name\": \"myself\"}, \"id\": \"5\"},"
              "{\"jsonrpc\": \"2.0\", \"method\": \"get_data\", \"id\": \"9\"}]",
              "[{\"jsonrpc\": \"2.0\", \"result\": 7, \"id\": \"1\"},{\"jsonrpc\": \"2.0\", \"result\": 19, \"id\": \"2\"},"
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32600, \"message\": \"Invalid Request\"}, \"id\": null},"
              "{\"jsonrpc\": \"2.0\", \"error\": {\"code\": -32601, \"message\": \"Method not found\"}, \"id\": \"5\"},"
              "{\"jsonrpc\": \"2.0\", \"result\": [\"hello\", 5], \"id\": \"9\"}]");
        n_notified = 0;
        check("[{\"jsonrpc\": \"2.0\", \"method\": \"notify_sum\", \"params\": [1,2,4]},"
              "{\"jsonrpc\": \"2.0\", \"method\": \"notify_hello\", \"params\": [7]}]", NULL);
        assert_int_equal(n_notified, 2);
}

static void ids_come_back_as_they_were(void **state) {
        static const char *const ids[] = { "1", "-7", "\"x\"", "\"\\u0001\\\"\\\\\"", "null", "1.5", "9223372036854775807", "\"\"",
                                           "\"\xc3\xa9\"" };

        for (unsigned i = 0; i < ELEMENTSOF(ids); i++) {
                _cleanup_free_ char *body = strprintf("{\"jsonrpc\":\"2.0\",\"method\":\"get_data\",\"id\":%s}", ids[i]),
                                    *want = strprintf("{\"jsonrpc\":\"2.0\",\"result\":[\"hello\",5],\"id\":%s}", ids[i]);

                check(body, want);
        }
        check("{\"jsonrpc\":\"2.0\",\"method\":\"get_data\",\"id\":[1]}",
              "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32600,\"message\":\"Invalid Request\"},\"id\":null}");
        check("{\"jsonrpc\":\"2.0\",\"method\":\"get_data\",\"params\":\"none\",\"id\":4}",
              "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32600,\"message\":\"Invalid Request\"},\"id\":4}");
}

/* What is wrong is said in data.detail. */
static void check_detail(Caller *caller, const char *body, int code, const char *words) {
        _cleanup_free_ char *text = ask_as(caller, body);
        json_t *v = json_loads(text, 0, NULL), *error = json_object_get(v, "error");
        const char *detail = json_string_value(json_object_get(json_object_get(error, "data"), "detail")) ?:
                json_string_value(json_object_get(error, "message"));

        assert_int_equal(json_integer_value(json_object_get(error, "code")), code);
        assert_non_null(detail);
        if (!strstr(detail, words))
                fail_msg("%s\n  was answered '%s'\n  without '%s'", body, detail, words);
        json_decref(v);
}

#define TYPED(params) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"typed\",\"params\":" params "}"

static void wrong_parameters_are_named(void **state) {
        check_detail(NULL, TYPED("{}"), -32602, "needs the parameter 's'");
        check_detail(NULL, TYPED("{\"s\":null}"), -32602, "needs the parameter 's'");
        check_detail(NULL, TYPED("{\"s\":1}"), -32602, "s must be a string");
        check_detail(NULL, TYPED("{\"s\":\"\"}"), -32602, "from 1 to 4");
        check_detail(NULL, TYPED("{\"s\":\"abcde\"}"), -32602, "from 1 to 4");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"b\":\"true\"}"), -32602, "b must be true or false");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"n\":10}"), -32602, "n must be from 0 to 9");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"n\":\"1\"}"), -32602, "n must be a number");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"l\":[1]}"), -32602, "l must be an array of strings");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"l\":[\"a\",\"b\",\"c\"]}"), -32602, "l must have from 0 to 2");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"o\":{\"minuend\":1.5}}"), -32602, "minuend must be an integer");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"o\":{\"more\":1}}"), -32602, "o has no parameter 'more'");
        check_detail(NULL, TYPED("{\"s\":\"x\",\"t\":1}"), -32602, "it has: s, b, n, l, o");
        check_detail(NULL, TYPED("[\"x\",true,1,[],{},6]"), -32602, "5 parameters, and 6");
        check(TYPED("[\"x\",null,1.5,[],{}]"), "{\"jsonrpc\":\"2.0\",\"result\":null,\"id\":1}");
}

static void what_is_no_json_is_a_parse_error(void **state) {
        check_detail(NULL, "", -32700, "Line");
        check_detail(NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"sum\",\"method\":\"get_data\",\"id\":1}", -32700, "duplicate");
        check_detail(NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"\xff\",\"id\":1}", -32700, "unable to decode byte");
        check_detail(NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"\xc0\xaf\",\"id\":1}", -32700, "unable to decode byte");
        check_detail(NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"sum\",\"id\":1} {}", -32700, "end of file");
        check_detail(NULL, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", -32700, "32 levels");
        check_detail(NULL, "7", -32600, "is an object");
}

static void a_batch_is_bounded(void **state) {
        _cleanup_free_ char *body = malloc(101 * 2 + 2);

        body[0] = '[';
        for (unsigned i = 0; i < 101; i++)
                memcpy(body + 1 + 2 * i, i < 100 ? "1," : "1]", 3);
        check_detail(NULL, body, -32600, "at most 100");
}

static void who_may_is_asked_first(void **state) {
        Caller user = { .n_ref = 1, .uid = 1000, .user = (char *) "alice" }, admin = { .n_ref = 1, .uid = 0, .admin = true },
               nobody = { .n_ref = 1, .uid = 65534 };
        static const char known[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"known\"}",
                          all[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin\"}";

        check_detail(NULL, known, -32001, "can log in to this host");
        check_detail(&nobody, known, -32001, "SystemUsers=");
        check_detail(&user, all, -32001, "for administrators");
        free(ask_as(&user, known));
        free(ask_as(&admin, all));
        assert_int_equal(user.n_ref, 1);
        assert_int_equal(admin.n_ref, 1);
}

static void an_error_of_the_bus_has_its_code_and_name(void **state) {
        _cleanup_free_ char *text = ask_as(NULL, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fail\"}");

        assert_string_equal(text, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32010,\"message\":\"VM 'x' is \\\"stopped\\\".\","
                            "\"data\":{\"name\":\"WrongState\"}},\"id\":1}");
}

static void calls_of_a_batch_are_under_way_side_by_side(void **state) {
        static const char body[] = "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hold\"},"
                                   "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"subtract\",\"params\":[3,1]}]";
        RpcRequest *q;
        Answer a = {};

        assert_int_equal(rpc_handle(&rpcd, NULL, "http", "", body, strlen(body), on_done, &a, &q), 0);
        assert_non_null(q);
        assert_int_equal(a.n, 0);
        call_result(held, json_string("late"));
        assert_int_equal(a.n, 1);
        assert_string_equal(a.text, "[{\"jsonrpc\":\"2.0\",\"result\":\"late\",\"id\":1},{\"jsonrpc\":\"2.0\",\"result\":2,\"id\":2}]");
        free(a.text);
}

static void who_is_gone_is_not_answered_and_the_call_ends(void **state) {
        static const char body[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hold\"}";
        RpcRequest *q;
        Answer a = {};

        assert_int_equal(rpc_handle(&rpcd, NULL, "http", "", body, strlen(body), on_done, &a, &q), 0);
        rpc_request_abandon(q);
        call_result(held, json_string("for nobody"));
        assert_int_equal(a.n, 0);
}

static void nobody_takes_all_the_calls_there_may_be(void **state) {
        static const char body[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"keep\"}";
        Caller alice = { .n_ref = 1, .uid = 1000, .user = (char *) "alice" }, bob = { .n_ref = 1, .uid = 1001, .user = (char *) "bob" };
        RpcRequest *q;
        Answer a = {};

        for (unsigned i = 0; i < 200; i++) {
                assert_int_equal(rpc_handle(&rpcd, &alice, "http", "", body, strlen(body), on_done, &a, &q), 0);
                assert_non_null(q);
                rpc_request_abandon(q);
        }
        check_detail(&alice, body, -32002, "Too many calls");
        assert_int_equal(rpc_handle(&rpcd, &bob, "http", "", body, strlen(body), on_done, &a, &q), 0);
        assert_non_null(q);
        rpc_request_abandon(q);
        while (n_kept > 0)
                call_result(kept[--n_kept], json_null());
        assert_int_equal(rpc_handle(&rpcd, &alice, "http", "", body, strlen(body), on_done, &a, &q), 0);
        rpc_request_abandon(q);
        call_result(kept[--n_kept], json_null());
        assert_int_equal(alice.n_ref, 1);
}

static void an_id_is_short(void **state) {
        _cleanup_free_ char *id = malloc(258), *body = NULL;

        memset(id, 'x', 257);
        id[257] = 0;
        body = strprintf("{\"jsonrpc\":\"2.0\",\"id\":\"%s\",\"method\":\"get_data\"}", id);
        check_detail(NULL, body, -32600, "at most 256 bytes");
}

static void the_line_socket_has_names_of_its_own(void **state) {
        static const char body[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"compute.get_data\"}";
        RpcRequest *q;
        Answer a = {};

        assert_int_equal(rpc_handle(&rpcd, NULL, "line", "compute.", body, strlen(body), on_done, &a, &q), 0);
        assert_string_equal(a.text, "{\"jsonrpc\":\"2.0\",\"result\":[\"hello\",5],\"id\":1}");
        free(a.text);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_examples_of_the_specification_are_answered_as_there),
                cmocka_unit_test(ids_come_back_as_they_were),
                cmocka_unit_test(wrong_parameters_are_named),
                cmocka_unit_test(what_is_no_json_is_a_parse_error),
                cmocka_unit_test(a_batch_is_bounded),
                cmocka_unit_test(who_may_is_asked_first),
                cmocka_unit_test(an_error_of_the_bus_has_its_code_and_name),
                cmocka_unit_test(calls_of_a_batch_are_under_way_side_by_side),
                cmocka_unit_test(who_is_gone_is_not_answered_and_the_call_ends),
                cmocka_unit_test(nobody_takes_all_the_calls_there_may_be),
                cmocka_unit_test(an_id_is_short),
                cmocka_unit_test(the_line_socket_has_names_of_its_own),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
