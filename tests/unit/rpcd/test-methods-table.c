/* SPDX-License-Identifier: Apache-2.0 */

/* The one table of methods, as it is: what it says of parameters is what is taken, for every method there is or will be. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/call.h"
#include "rpcd/openrpc.h"
#include "rpcd/params.h"
#include "rpcd/rpc.h"

static Rpcd rpcd;

/* Of every type that JSON has, and of arrays. */
static const char *const values[] = { "\"text\"", "1", "1.5", "true", "[\"a\"]", "[1]", "{}" };

static bool is_of_type(const Param *p, const char *value) {
        switch (p->type) {
        case PARAM_STRING:
                return value[0] == '"';
        case PARAM_INTEGER:
                return streq(value, "1");
        case PARAM_NUMBER:
                return value[0] == '1';
        case PARAM_BOOLEAN:
                return streq(value, "true");
        case PARAM_STRINGS:
                return streq(value, "[\"a\"]");
        case PARAM_OBJECT:
                return streq(value, "{}");
        }
        return false;
}

static json_t *good(const Param *p) {
        _cleanup_free_ char *text = NULL;

        switch (p->type) {
        case PARAM_STRING:
                text = calloc(1, (size_t) p->minimum + 2);
                assert_non_null(text);
                memset(text, '1', p->minimum > 0 ? (size_t) p->minimum : 1);
                return json_string(text);
        case PARAM_INTEGER:
        case PARAM_NUMBER:
                return json_integer(p->minimum);
        case PARAM_BOOLEAN:
                return json_true();
        case PARAM_STRINGS:
                return json_pack("[s]", "a");
        case PARAM_OBJECT:
                return json_object();
        }
        return NULL;
}

static json_t *all_good(const Method *m) {
        json_t *params = json_object();

        for (unsigned i = 0; i < m->n_params; i++)
                assert_int_equal(json_object_set_new(params, m->params[i].name, good(m->params + i)), 0);
        return params;
}

static void on_done(char *response, size_t size, void *userdata) {
        *(char **) userdata = response;
}

/* Takes params over. */
static void check_refused(const Method *m, const char *param, json_t *params) {
        json_t *v = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", m->name, "params", params), *error;
        _cleanup_free_ char *body = json_dumps(v, 0), *text = NULL;
        const char *detail;
        RpcRequest *q;

        json_decref(v);
        assert_int_equal(rpc_handle(&rpcd, NULL, "http", "", body, strlen(body), on_done, &text, &q), 0);
        v = json_loads(text, 0, NULL);
        error = json_object_get(v, "error");
        detail = json_string_value(json_object_get(json_object_get(error, "data"), "detail"));
        if (json_integer_value(json_object_get(error, "code")) != RPC_INVALID_PARAMS || !detail || !strstr(detail, param))
                fail_msg("%s\n  was answered %s", body, text);
        json_decref(v);
}

static void check_param(const Method *m, const Param *object, const Param *p) {
        for (unsigned i = 0; i < ELEMENTSOF(values); i++) {
                json_t *params = all_good(m), *in = object ? json_object_get(params, object->name) : params;

                if (is_of_type(p, values[i])) {
                        json_decref(params);
                        continue;
                }
                assert_int_equal(json_object_set_new(in, p->name, json_loads(values[i], JSON_DECODE_ANY, NULL)), 0);
                check_refused(m, p->name, params);
        }
        for (unsigned i = 0; i < p->n_members; i++)
                check_param(m, p, p->members + i);
}

static void every_wrong_type_of_every_parameter_is_refused_by_name(void **state) {
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++)
                for (unsigned k = 0; k < m->n_params; k++)
                        check_param(m, NULL, m->params + k);
}

static void the_bounds_of_every_parameter_hold(void **state) {
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++)
                for (unsigned k = 0; k < m->n_params; k++) {
                        const Param *p = m->params + k;

                        if (p->type != PARAM_INTEGER && p->type != PARAM_NUMBER)
                                continue;
                        for (unsigned side = 0; side < 2; side++) {
                                json_t *params = all_good(m);

                                json_object_set_new(params, p->name, json_integer(side ? p->maximum + 1 : p->minimum - 1));
                                check_refused(m, p->name, params);
                        }
                }
}

static void what_a_method_needs_it_must_have(void **state) {
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++)
                for (unsigned k = 0; k < m->n_params; k++)
                        if (m->params[k].required) {
                                json_t *params = all_good(m);

                                assert_int_equal(json_object_del(params, m->params[k].name), 0);
                                check_refused(m, m->params[k].name, params);
                        }
}

static void good_parameters_are_taken_by_name_and_by_position(void **state) {
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++) {
                json_t *params = all_good(m), *positions = json_array(), *by_name, *by_position;
                _cleanup_free_ char *why = NULL;

                for (unsigned k = 0; k < m->n_params; k++)
                        json_array_append(positions, json_object_get(params, m->params[k].name));
                if (params_check(m, params, &by_name, &why) < 0 || params_check(m, positions, &by_position, &why) < 0)
                        fail_msg("%s: %s", m->name, why);
                assert_true(json_equal(by_name, by_position));
                json_decref(by_name);
                json_decref(by_position);
                json_decref(params);
                json_decref(positions);
        }
}

static void check_sentence(const Method *m, const char *name, const char *s) {
        if (isempty(s) || !strchr(".?)}]", s[strlen(s) - 1]))
                fail_msg("%s: %s has no sentence that says what it is: %s", m->name, name, strna(s));
}

static void check_names(const Method *m, const Param *params, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                check_sentence(m, params[i].name, params[i].description);
                assert_int_equal(strspn(params[i].name, "abcdefghijklmnopqrstuvwxyz_"), strlen(params[i].name));
                assert_true(i == 0 || !params[i].required || params[i - 1].required); /* by position: what must be is first */
                for (unsigned k = 0; k < i; k++)
                        assert_string_not_equal(params[i].name, params[k].name);
                check_names(m, params[i].members, params[i].n_members);
        }
}

static void every_parameter_has_a_name_of_its_own_and_a_description(void **state) {
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++) {
                check_sentence(m, "the method", m->summary);
                check_names(m, m->params, m->n_params);
        }
}

static void every_method_is_found_and_those_of_a_noun_are_together(void **state) {
        const Method *m, *before = NULL, *other;

        for (unsigned i = 0; (m = method_get(i)); before = m, i++) {
                size_t noun = strcspn(m->name, ".");

                assert_ptr_equal(method_find(m->name), m);
                assert_non_null(m->handler);
                for (unsigned k = 0; before && k < i; k++) {
                        other = method_get(k);
                        if (strcspn(other->name, ".") == noun && strncmp(other->name, m->name, noun) == 0 &&
                            strncmp(before->name, m->name, noun) != 0)
                                fail_msg("%s is not beside %s", m->name, other->name);
                }
        }
}

static void who_needs_a_vm_or_a_user_has_the_parameter_that_says_which(void **state) {
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++)
                if (m->access == ACCESS_VM || m->access == ACCESS_USER) {
                        assert_true(m->n_params > 0);
                        assert_string_equal(m->params[0].name, m->access == ACCESS_VM ? "vm_id" : "user_id");
                        assert_true(m->params[0].type == PARAM_STRING);
                        if (m->access == ACCESS_USER && !m->params[0].required)
                                fail_msg("%s does not need to know the user", m->name);
                }
}

static void every_result_has_a_schema(void **state) {
        json_t *document, *schemas;
        const Method *m;
        size_t size;

        document = json_loads(openrpc_document(&size), JSON_REJECT_DUPLICATES, NULL);
        schemas = json_object_get(json_object_get(document, "components"), "schemas");
        assert_true(json_is_object(schemas));
        for (unsigned i = 0; (m = method_get(i)); i++)
                if (!json_object_get(schemas, strempty(m->result)))
                        fail_msg("%s: there is no schema %s", m->name, strna(m->result));
        json_decref(document);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_wrong_type_of_every_parameter_is_refused_by_name),
                cmocka_unit_test(the_bounds_of_every_parameter_hold),
                cmocka_unit_test(what_a_method_needs_it_must_have),
                cmocka_unit_test(good_parameters_are_taken_by_name_and_by_position),
                cmocka_unit_test(every_parameter_has_a_name_of_its_own_and_a_description),
                cmocka_unit_test(every_method_is_found_and_those_of_a_noun_are_together),
                cmocka_unit_test(who_needs_a_vm_or_a_user_has_the_parameter_that_says_which),
                cmocka_unit_test(every_result_has_a_schema),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
