/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/lifecycle.h"

static const char *const vm_state_table[_VM_STATE_MAX] = {
        [VM_PENDING] = "pending",
        [VM_PROVISIONING] = "provisioning",
        [VM_CONFIGURED] = "configured",
        [VM_STARTING] = "starting",
        [VM_START_FAILED] = "start-failed",
        [VM_RUNNING] = "running",
        [VM_SUSPENDING] = "suspending",
        [VM_SUSPENDED] = "suspended",
        [VM_HIBERNATING] = "hibernating",
        [VM_HIBERNATED] = "hibernated",
        [VM_RESUMING] = "resuming",
        [VM_STOPPING] = "stopping",
        [VM_STOPPED] = "stopped",
        [VM_FAILED] = "failed",
};
DEFINE_STRING_TABLE_LOOKUP(vm_state, VmState);

#define TO(state) (1u << (state))

/* What may follow what. "failed" is reachable from everywhere (the VMM died, the record is broken); only a start
 * leads out of it. A cancelled or interrupted operation goes back to where it came from, hence starting →
 * configured/stopped, suspending → running and hibernating → suspended. A VM that wakes from the disk is resuming, too. */
static const unsigned vm_transitions[_VM_STATE_MAX] = {
        [VM_PENDING] = TO(VM_PROVISIONING) | TO(VM_FAILED),
        [VM_PROVISIONING] = TO(VM_CONFIGURED) | TO(VM_FAILED),
        [VM_CONFIGURED] = TO(VM_STARTING) | TO(VM_FAILED),
        [VM_STARTING] = TO(VM_RUNNING) | TO(VM_START_FAILED) | TO(VM_STOPPING) | TO(VM_CONFIGURED) | TO(VM_STOPPED) |
                TO(VM_FAILED),
        [VM_START_FAILED] = TO(VM_STARTING) | TO(VM_FAILED),
        [VM_RUNNING] = TO(VM_SUSPENDING) | TO(VM_STOPPING) | TO(VM_STOPPED) | TO(VM_FAILED),
        [VM_SUSPENDING] = TO(VM_SUSPENDED) | TO(VM_RUNNING) | TO(VM_STOPPING) | TO(VM_STOPPED) | TO(VM_FAILED),
        [VM_SUSPENDED] = TO(VM_RESUMING) | TO(VM_HIBERNATING) | TO(VM_STOPPING) | TO(VM_STOPPED) | TO(VM_FAILED),
        [VM_HIBERNATING] = TO(VM_HIBERNATED) | TO(VM_SUSPENDED) | TO(VM_RESUMING) | TO(VM_STOPPING) | TO(VM_STOPPED) |
                TO(VM_FAILED),
        [VM_HIBERNATED] = TO(VM_RESUMING) | TO(VM_HIBERNATING) | TO(VM_STOPPING) | TO(VM_STOPPED) | TO(VM_FAILED),
        [VM_RESUMING] = TO(VM_RUNNING) | TO(VM_SUSPENDED) | TO(VM_HIBERNATED) | TO(VM_STOPPING) | TO(VM_STOPPED) | TO(VM_FAILED),
        [VM_STOPPING] = TO(VM_STOPPED) | TO(VM_FAILED),
        [VM_STOPPED] = TO(VM_STARTING) | TO(VM_FAILED),
        [VM_FAILED] = TO(VM_STARTING),
};

bool vm_transition_is_allowed(VmState from, VmState to) {
        if ((int) from < 0 || from >= _VM_STATE_MAX || (int) to < 0 || to >= _VM_STATE_MAX)
                return false;
        return vm_transitions[from] & TO(to);
}

bool vm_state_is_active(VmState s) {
        return s == VM_STARTING || s == VM_RUNNING || s == VM_SUSPENDING || s == VM_SUSPENDED || s == VM_HIBERNATING ||
                s == VM_HIBERNATED || s == VM_RESUMING || s == VM_STOPPING;
}

bool vm_state_is_resting(VmState s) {
        return s == VM_CONFIGURED || s == VM_RUNNING || s == VM_SUSPENDED || s == VM_HIBERNATED || s == VM_STOPPED || s == VM_START_FAILED ||
                s == VM_FAILED;
}

bool vm_state_is_startable(VmState s) {
        return s == VM_CONFIGURED || s == VM_STOPPED || s == VM_START_FAILED || s == VM_FAILED;
}
