/* SPDX-License-Identifier: Apache-2.0 */

/* Suspend: the VMM pauses the guest's CPUs, then the scope is frozen, so that not even the VMM's own threads cost anything.
 * Resume is the reverse, and the guest's clock is set. A suspend that fails half-way goes back to running. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "compute/agent.h"
#include "compute/manager.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/vm-awake.h"
#include "shared/log.h"

static void back_to_running(Vm *vm, int error, const char *text) {
        vm_disarm_timer(vm);
        vm_network_wake(vm);
        vm_set_state(vm, VM_RUNNING, "%s", error == -ECANCELED ? "The suspend was canceled." : strempty(text));
        job_step_done(vm, error, text);
}

/* Answers come in the order of the questions. One that was given up on must not be taken for that of the next attempt. */
static bool answer_is_late(Vm *vm) {
        if (vm->runtime->late_answers == 0)
                return false;
        vm->runtime->late_answers--;
        return true;
}

/* The last step of a suspend that is taken back. Whatever became of it, there is nothing more that could be done. */
static void suspend_undone(Vm *vm) {
        _cleanup_free_ char *why = TAKE_PTR(vm->failure_text);
        int r = vm->failure;

        vm->failure = 0;
        if (vm->state == VM_SUSPENDING) /* else a stop came between */
                back_to_running(vm, r, why);
}

static void on_undo_resumed(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;

        /* The connection breaks when the process ends: its end has more to say than this. */
        if (!answer_is_late(vm) && vm->failure < 0 && error != -ECONNRESET)
                suspend_undone(vm);
}

static int on_undo_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        vm->runtime->late_answers++;
        suspend_undone(vm);
        return 0;
}

/* Resuming what is not paused does no harm. */
static void suspend_undo_resume(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (!vm->hypervisor->resume || !rt->monitor ||
            vm_arm_timer(vm, vm->manager->config.monitor_timeout, on_undo_timeout) < 0 ||
            vm->hypervisor->resume(rt->monitor, on_undo_resumed, vm) < 0)
                suspend_undone(vm);
}

static void on_undo_thawed(Vm *vm, int error, const char *text) {
        if (error < 0)
                log_vm_warning(vm, "Thawing %s: %s", vm->unit, text ?: strerror(-error));
        if (vm->state == VM_SUSPENDING)
                suspend_undo_resume(vm);
}

/* Also when the freeze failed or was not answered, for it may come about yet; thawing what is not frozen does no harm.
 * PID 1 takes its calls in order. */
static void suspend_undo(Vm *vm, int error, const char *text) {
        vm_disarm_timer(vm);
        vm->failure = error;
        (void) free_and_strdup(&vm->failure_text, text ?: strerror(-error));
        if (scope_thaw(vm, on_undo_thawed) < 0)
                suspend_undo_resume(vm);
}

static void on_frozen(Vm *vm, int error, const char *text) {
        if (vm->state != VM_SUSPENDING)
                return; /* a stop came between and thaws by itself */
        if (error < 0) {
                suspend_undo(vm, error, text);
                return;
        }
        if (vm->job && vm->job->canceled) {
                suspend_undo(vm, -ECANCELED, "Canceled.");
                return;
        }
        vm_set_state(vm, VM_SUSPENDED, "Paused and frozen.");
        if (vm_network_has_heard(vm))
                vm_awake(vm, "a packet came while it was being paused.");
        job_step_done(vm, 0, NULL);
}

static void on_paused(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;

        if (answer_is_late(vm) || vm->state != VM_SUSPENDING || error == -ECONNRESET)
                return; /* when the VMM ends, that is noticed in a moment and tells more */
        vm_disarm_timer(vm);
        if (error < 0) {
                back_to_running(vm, -ENOTRECOVERABLE, text ?: "The VMM could not pause the guest.");
                return;
        }
        if (vm->job && vm->job->canceled) {
                suspend_undo(vm, -ECANCELED, "Canceled.");
                return;
        }
        if (scope_freeze(vm, on_frozen) < 0)
                suspend_undo(vm, -EREMOTEIO, "Cannot ask systemd to freeze the scope.");
}

static int on_pause_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        vm->runtime->late_answers++;
        /* Should it come to the pause yet, this comes next. */
        if (vm->runtime->monitor && vm->hypervisor->resume)
                (void) vm->hypervisor->resume(vm->runtime->monitor, NULL, NULL);
        back_to_running(vm, -ENOTRECOVERABLE, "The VMM did not answer the pause in time (MonitorTimeoutSec=).");
        return 0;
}

static int refuse(Vm *vm, const char *what, char **ret_text) {
        if (asprintf(ret_text, "VM '%s' is %s and cannot be %s.", vm->name, vm_state_to_string(vm->state), what) < 0)
                *ret_text = NULL;
        return -EBADFD;
}

static int suspend_begin(Vm *vm, char **ret_text) {
        int r;

        if (vm->state == VM_SUSPENDED) {
                job_step_done(vm, 0, NULL);
                return 0;
        }
        if (vm->state != VM_RUNNING)
                return refuse(vm, "suspended", ret_text);
        if (!vm->hypervisor->pause)
                return hypervisor_unsupported(vm->hypervisor, "suspend", ret_text);
        if (!vm->runtime->monitor) {
                *ret_text = strdup("The connection to the VMM was lost, so it cannot be paused.");
                return -ENOTRECOVERABLE;
        }
        vm_set_state(vm, VM_SUSPENDING, "Suspending.");
        vm->wake_wanted = false;
        r = vm_network_sleep(vm);
        if (r < 0) {
                back_to_running(vm, r, "Packets for it cannot be held.");
                return 0;
        }
        r = vm_arm_timer(vm, vm->manager->config.monitor_timeout, on_pause_timeout);
        if (r >= 0)
                r = vm->hypervisor->pause(vm->runtime->monitor, on_paused, vm);
        if (r < 0)
                back_to_running(vm, r, "Cannot ask the VMM to pause.");
        return 0;
}

static void suspend_cancel(Vm *vm) {
        /* Each callback looks at Job.canceled; they come within milliseconds. */
}

static void resume_failed(Vm *vm, int error, const char *text) {
        vm_disarm_timer(vm);
        vm_set_state(vm, VM_SUSPENDED, "Could not be resumed: %s", text ?: strerror(-error));
        vm_network_rest(vm);
        job_step_done(vm, error, vm->reason);
}

void vm_woken(Vm *vm, const char *reason) {
        vm_disarm_timer(vm);
        if (vm_agent_is_ready(vm))
                (void) agent_set_time(vm->runtime->agent);
        vm_touch(vm);
        vm_network_wake(vm);
        vm_set_state(vm, VM_RUNNING, "%s", reason);
}

static void on_resumed(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;

        if (answer_is_late(vm) || vm->state != VM_RESUMING || error == -ECONNRESET)
                return; /* as in on_paused() */
        if (error < 0) {
                resume_failed(vm, -ENOTRECOVERABLE, text);
                return;
        }
        vm_woken(vm, "Resumed.");
        job_step_done(vm, 0, NULL);
}

static int on_resume_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        vm->runtime->late_answers++;
        /* The state says that it is paused: should it resume yet, it pauses again. */
        if (vm->runtime->monitor && vm->hypervisor->pause)
                (void) vm->hypervisor->pause(vm->runtime->monitor, NULL, NULL);
        resume_failed(vm, -ENOTRECOVERABLE, "the VMM did not answer in time (MonitorTimeoutSec=).");
        return 0;
}

static void on_thawed(Vm *vm, int error, const char *text) {
        int r;

        if (vm->state != VM_RESUMING)
                return;
        if (error < 0) {
                resume_failed(vm, error, text);
                return;
        }
        r = vm_arm_timer(vm, vm->manager->config.monitor_timeout, on_resume_timeout);
        if (r >= 0)
                r = vm->hypervisor->resume(vm->runtime->monitor, on_resumed, vm);
        if (r < 0)
                resume_failed(vm, -ENOTRECOVERABLE, "cannot ask the VMM to resume.");
}

static int resume_begin(Vm *vm, char **ret_text) {
        int r;

        if (vm->state == VM_RUNNING) {
                job_step_done(vm, 0, NULL);
                return 0;
        }
        if (vm->state == VM_HIBERNATED)
                return vm_restore_begin(vm, ret_text);
        if (vm->state != VM_SUSPENDED)
                return refuse(vm, "resumed", ret_text);
        if (!vm->hypervisor->resume)
                return hypervisor_unsupported(vm->hypervisor, "resume", ret_text);
        if (!vm->runtime->monitor) {
                *ret_text = strdup("The connection to the VMM was lost, so it cannot be resumed.");
                return -ENOTRECOVERABLE;
        }
        vm_set_state(vm, VM_RESUMING, "Resuming.");
        r = scope_thaw(vm, on_thawed);
        if (r < 0)
                resume_failed(vm, r, "cannot ask systemd to thaw the scope.");
        return 0;
}

/* Half-way is nowhere to stay: both go to running, which loses nothing. */
void vm_suspend_adopted(Vm *vm, bool frozen) {
        if (vm->state == VM_SUSPENDING) {
                suspend_undo(vm, -ECANCELED, "Canceled.");
                return;
        }
        if (!vm->runtime->monitor || scope_thaw(vm, on_thawed) < 0)
                vm_set_state(vm, VM_SUSPENDED, "The resume was interrupted by a restart of hero-computed.");
}

const Step step_suspend = { .word = "suspend", .begin = suspend_begin, .cancel = suspend_cancel };
const Step step_resume = { .word = "resume", .begin = resume_begin };
