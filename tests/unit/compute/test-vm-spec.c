/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/vm-spec.h"

static void names_are_lower_case_labels(void **state) {
        assert_true(vm_name_is_valid("a"));
        assert_true(vm_name_is_valid("alice-2"));
        assert_true(vm_name_is_valid("0"));
        assert_true(vm_name_is_valid("012345678901234567890123456789012345678901234567890123456789012"));
        assert_false(vm_name_is_valid("0123456789012345678901234567890123456789012345678901234567890123"));
        assert_false(vm_name_is_valid(""));
        assert_false(vm_name_is_valid("-a"));
        assert_false(vm_name_is_valid("a-"));
        assert_false(vm_name_is_valid("Alice"));
        assert_false(vm_name_is_valid("a.b"));
        assert_false(vm_name_is_valid("a/../b"));
        assert_false(vm_name_is_valid("a\n"));
        assert_false(vm_name_is_valid("\xc3\xa4"));
}

static void user_ids_may_look_like_mail_addresses(void **state) {
        assert_true(user_id_is_valid("alice"));
        assert_true(user_id_is_valid("Alice.B_c@example-1"));
        assert_false(user_id_is_valid(""));
        assert_false(user_id_is_valid("a b"));
        assert_false(user_id_is_valid("a/b"));
        assert_false(user_id_is_valid("01234567890123456789012345678901234567890123456789012345678901234"));
}

static void a_user_id_becomes_a_vm_name(void **state) {
        static const char *const table[][2] = {
                { "alice", "alice" }, { "Alice.B@x", "alice-b-x" }, { "_a_", "a" }, { "...", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *name = vm_name_from_user(table[i][0]);

                assert_true(streq_ptr(name, table[i][1]));
                if (name)
                        assert_true(vm_name_is_valid(name));
        }
}

static int check(VmSpec s) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = vm_spec_check(&s, &error);

        /* A refusal always says why. */
        assert_int_equal(r < 0, error.message != NULL);
        return r;
}

static void sizes_and_counts_out_of_bounds_are_refused(void **state) {
        assert_int_equal(check((VmSpec) {}), 0);
        assert_int_equal(check((VmSpec) { .cpus = 64, .memory = VM_MEMORY_MAX, .disk = 16 << 20 }), 0);
        assert_true(check((VmSpec) { .cpus = 65 }) < 0);
        assert_true(check((VmSpec) { .memory = (64 << 20) - 1 }) < 0);
        assert_true(check((VmSpec) { .memory = (64 << 20) + 1 }) < 0);
        assert_true(check((VmSpec) { .memory = 2 * VM_MEMORY_MAX }) < 0);
        assert_true(check((VmSpec) { .disk = 1 }) < 0);
        assert_true(check((VmSpec) { .cpu_weight = 10001 }) < 0);
        assert_true(check((VmSpec) { .hypervisor = (char *) "xen" }) < 0);
        assert_int_equal(check((VmSpec) { .receive_max = 1024, .transmit_max = UINT64_MAX }), 0);
        assert_int_equal(check((VmSpec) { .receive_max = VM_RATE_MAX }), 0);
        assert_true(check((VmSpec) { .receive_max = 1023 }) < 0);
        assert_true(check((VmSpec) { .transmit_max = VM_RATE_MAX + 1 }) < 0);
}

static void strings_that_could_mislead_somebody_are_refused(void **state) {
        char *good[] = { (char *) "A=1", (char *) "_B=x y\tz", NULL };
        char *digit[] = { (char *) "1A=1", NULL }, *bare[] = { (char *) "A", NULL }, *escape[] = { (char *) "A=\033[31m", NULL };
        char *latin1[] = { (char *) "echo", (char *) "\xe4", NULL };

        assert_int_equal(check((VmSpec) { .environment = good }), 0);
        assert_true(check((VmSpec) { .environment = digit }) < 0);
        assert_true(check((VmSpec) { .environment = bare }) < 0);
        assert_true(check((VmSpec) { .environment = escape }) < 0);
        assert_true(check((VmSpec) { .command = latin1 }) < 0);
        assert_true(check((VmSpec) { .working_directory = (char *) "relative" }) < 0);
        assert_true(check((VmSpec) { .kernel_arguments = (char *) "a\nb" }) < 0);
        assert_true(check((VmSpec) { .image = (char *) "" }) < 0);
}

static void what_runs_is_said_in_one_way(void **state) {
        char *words[] = { (char *) "a", NULL }, *none[] = { NULL }, *latin1[] = { (char *) "\xe4", NULL };

        assert_int_equal(check((VmSpec) { .entrypoint = words, .arguments = words }), 0);
        assert_int_equal(check((VmSpec) { .command = none, .entrypoint = none }), 0);
        assert_int_equal(check((VmSpec) { .run_image = RUN_IMAGE, .command = words }), 0);
        assert_int_equal(check((VmSpec) { .run_image = RUN_NOTHING, .environment = NULL, .run_as = (char *) "1:1" }), 0);
        assert_true(check((VmSpec) { .command = words, .entrypoint = none }) < 0);
        assert_true(check((VmSpec) { .command = words, .arguments = words }) < 0);
        assert_true(check((VmSpec) { .run_image = RUN_NOTHING, .command = words }) < 0);
        assert_true(check((VmSpec) { .run_image = RUN_NOTHING, .arguments = none }) < 0);
        assert_true(check((VmSpec) { .entrypoint = latin1 }) < 0);
        assert_true(check((VmSpec) { .arguments = latin1 }) < 0);
        assert_true(check((VmSpec) { .run_as = (char *) "" }) < 0);
        assert_true(check((VmSpec) { .run_as = (char *) "a\n" }) < 0);
}

static void more_than_the_boot_message_holds_is_refused(void **state) {
        _cleanup_strv_free_ char **many = NULL;
        char *large[2] = {};

        for (unsigned i = 0; i <= VM_STRINGS_MAX; i++)
                assert_int_equal(strv_extend(&many, "A=1"), 0);
        assert_true(check((VmSpec) { .environment = many }) < 0);
        large[0] = malloc(VM_STRINGS_SIZE_MAX + 1);
        memset(large[0], 'x', VM_STRINGS_SIZE_MAX);
        large[0][VM_STRINGS_SIZE_MAX] = 0;
        assert_true(check((VmSpec) { .command = large }) < 0);
        free(large[0]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_lower_case_labels),
                cmocka_unit_test(user_ids_may_look_like_mail_addresses),
                cmocka_unit_test(a_user_id_becomes_a_vm_name),
                cmocka_unit_test(sizes_and_counts_out_of_bounds_are_refused),
                cmocka_unit_test(strings_that_could_mislead_somebody_are_refused),
                cmocka_unit_test(what_runs_is_said_in_one_way),
                cmocka_unit_test(more_than_the_boot_message_holds_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
