/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/lifecycle.h"

static void every_state_has_a_name_and_comes_back_from_it(void **state) {
        for (VmState s = 0; s < _VM_STATE_MAX; s++) {
                assert_non_null(vm_state_to_string(s));
                assert_int_equal(vm_state_from_string(vm_state_to_string(s)), s);
        }
        assert_int_equal((int) vm_state_from_string("asleep"), -EINVAL);
        assert_null(vm_state_to_string(_VM_STATE_MAX));
}

static void no_state_leads_to_itself(void **state) {
        for (VmState s = 0; s < _VM_STATE_MAX; s++)
                assert_false(vm_transition_is_allowed(s, s));
}

static void every_state_but_failed_can_fail(void **state) {
        for (VmState s = 0; s < _VM_STATE_MAX; s++)
                assert_int_equal(vm_transition_is_allowed(s, VM_FAILED), s != VM_FAILED);
}

static void a_state_is_either_resting_or_on_its_way(void **state) {
        for (VmState s = 0; s < _VM_STATE_MAX; s++)
                if (vm_state_is_startable(s)) {
                        assert_true(vm_state_is_resting(s));
                        assert_false(vm_state_is_active(s));
                        assert_true(vm_transition_is_allowed(s, VM_STARTING));
                } else
                        assert_false(vm_transition_is_allowed(s, VM_STARTING));
}

static void the_life_of_a_vm_is_allowed(void **state) {
        static const VmState life[] = {
                VM_PENDING, VM_PROVISIONING, VM_CONFIGURED, VM_STARTING, VM_RUNNING, VM_SUSPENDING, VM_SUSPENDED,
                VM_RESUMING, VM_RUNNING, VM_STOPPING, VM_STOPPED, VM_STARTING, VM_START_FAILED, VM_STARTING,
        };

        for (size_t i = 1; i < ELEMENTSOF(life); i++)
                assert_true(vm_transition_is_allowed(life[i - 1], life[i]));
}

static void shortcuts_are_refused(void **state) {
        assert_false(vm_transition_is_allowed(VM_PENDING, VM_RUNNING));
        assert_false(vm_transition_is_allowed(VM_STOPPED, VM_RUNNING));
        assert_false(vm_transition_is_allowed(VM_STOPPED, VM_SUSPENDED));
        assert_false(vm_transition_is_allowed(VM_SUSPENDED, VM_RUNNING));
        assert_false(vm_transition_is_allowed(VM_FAILED, VM_STOPPED));
        assert_false(vm_transition_is_allowed(VM_RUNNING, _VM_STATE_MAX));
        assert_false(vm_transition_is_allowed(_VM_STATE_INVALID, VM_RUNNING));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_state_has_a_name_and_comes_back_from_it),
                cmocka_unit_test(no_state_leads_to_itself),
                cmocka_unit_test(every_state_but_failed_can_fail),
                cmocka_unit_test(a_state_is_either_resting_or_on_its_way),
                cmocka_unit_test(the_life_of_a_vm_is_allowed),
                cmocka_unit_test(shortcuts_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
