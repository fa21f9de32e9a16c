/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The states of a VM and the one table of permitted transitions. Pure. */

#include "basic/macro.h"

typedef enum VmState {
        VM_PENDING,      /* named, nothing done yet */
        VM_PROVISIONING, /* image and disk are being made */
        VM_CONFIGURED,   /* ready for its first start */
        VM_STARTING,
        VM_START_FAILED,
        VM_RUNNING,
        VM_SUSPENDING,
        VM_SUSPENDED,    /* paused in memory, frozen */
        VM_HIBERNATING,
        VM_HIBERNATED,   /* on disk; no process, no memory */
        VM_RESUMING,
        VM_STOPPING,
        VM_STOPPED,
        VM_FAILED,
        _VM_STATE_MAX,
        _VM_STATE_INVALID = -EINVAL,
} VmState;

const char *vm_state_to_string(VmState s);
VmState vm_state_from_string(const char *s);

bool vm_transition_is_allowed(VmState from, VmState to);

/* A VMM process exists or is being made or ended, or its guest sleeps on disk. */
bool vm_state_is_active(VmState s);
/* Nothing changes until somebody asks. */
bool vm_state_is_resting(VmState s);
/* May be started. */
bool vm_state_is_startable(VmState s);
