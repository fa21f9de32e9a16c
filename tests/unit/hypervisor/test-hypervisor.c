/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/hypervisor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "basic/strv.h"
#include "basic/alloc-util.h"
#include "basic/string-util.h"

static void drivers_are_found_by_name(void **state) {
        assert_ptr_equal(hypervisor_find("qemu"), &hypervisor_qemu);
        assert_ptr_equal(hypervisor_find("mock"), &hypervisor_mock);
        assert_null(hypervisor_find("xen"));
        assert_null(hypervisor_find(""));
        assert_null(hypervisor_find(NULL));
}

static void every_driver_is_in_the_list_of_names(void **state) {
        assert_non_null(strstr(hypervisor_names(), hypervisor_qemu.name));
        assert_non_null(strstr(hypervisor_names(), hypervisor_mock.name));
}

static void what_a_vmm_cannot_is_said_in_a_sentence(void **state) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(hypervisor_unsupported(&hypervisor_mock, "fly", &text), -EOPNOTSUPP);
        assert_string_equal(text, "The mock hypervisor cannot fly.");
}

static void accelerators_and_events_have_names(void **state) {
        for (Accelerator a = 0; a < _ACCELERATOR_MAX; a++)
                assert_int_equal(accelerator_from_string(accelerator_to_string(a)), a);
        assert_int_equal(accelerator_from_string("hax"), -EINVAL);
        for (VmmEvent e = 0; e <= VMM_EVENT_LOST; e++)
                assert_non_null(vmm_event_to_string(e));
        assert_null(vmm_event_to_string(VMM_EVENT_LOST + 1));
}

static void a_command_takes_only_so_many_fds_and_none_that_is_none(void **state) {
        VmmCommand c = {};

        assert_int_equal(vmm_command_add_fd(&c, -EBADF), -EBADF);
        for (int i = 0; i < VMM_FDS_MAX; i++)
                assert_int_equal(vmm_command_add_fd(&c, 100 + i), 3 + i);
        assert_int_equal(vmm_command_add_fd(&c, 5), -E2BIG);
        vmm_command_done(&c);
        assert_int_equal(c.n_fds, 0);
}

static void the_mock_refuses_a_script_that_is_none(void **state) {
        VmmCommand c = {};
        VmmSpec spec = {
                .name = "x",
                .cpus = 1,
                .memory = 64 << 20,
                .mock_script = "explode",
                .console_fd = 5,
                .monitor_fd = 6,
                .agent_fd = 7,
                .memory_fd = -EBADF,
                .tap_fd = -EBADF,
        };

        assert_int_equal(hypervisor_mock.command(&spec, &c), -EINVAL);
        assert_null(c.argv);
        spec.mock_script = "load=10";
        assert_int_equal(hypervisor_mock.command(&spec, &c), 0);
        assert_int_equal(c.n_fds, 3);
        vmm_command_done(&c);
        spec.tap_fd = 8;
        memcpy(spec.mac, (uint8_t[6]) { 2, 0, 0, 0xab, 0, 1 }, sizeof(spec.mac));
        assert_int_equal(hypervisor_mock.command(&spec, &c), 0);
        assert_int_equal(c.n_fds, 4);
        assert_int_equal(c.fds[3], 8);
        assert_true(strv_contains(c.argv, "tap=6"));
        assert_true(strv_contains(c.argv, "mac=02:00:00:ab:00:01"));
        vmm_command_done(&c);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(drivers_are_found_by_name),
                cmocka_unit_test(every_driver_is_in_the_list_of_names),
                cmocka_unit_test(what_a_vmm_cannot_is_said_in_a_sentence),
                cmocka_unit_test(accelerators_and_events_have_names),
                cmocka_unit_test(a_command_takes_only_so_many_fds_and_none_that_is_none),
                cmocka_unit_test(the_mock_refuses_a_script_that_is_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
