/* SPDX-License-Identifier: Apache-2.0 */

/* Stopping a VM, one stage after the other, each with its own time limit: the agent shuts the guest down → the VMM's
 * power button → the scope is stopped → everything in it is killed. The end itself is noticed in vm-end.c. */

#include <signal.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/agent.h"
#include "compute/manager.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "shared/log.h"

enum {
        STAGE_AGENT,
        STAGE_POWERDOWN,
        STAGE_SCOPE,
        STAGE_KILL,
        STAGE_WAIT,
};

static void stop_next(Vm *vm);

static int on_stage_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        stop_next(userdata);
        return 0;
}

static void on_powerdown(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;

        if (error < 0 && vm->runtime->stop_stage == STAGE_POWERDOWN + 1)
                stop_next(vm);
}

/* Tries one stage. True: it has been begun, wait for usec. */
static bool stop_stage(Vm *vm, unsigned stage, uint64_t *ret_usec) {
        const ComputeConfig *c = &vm->manager->config;
        VmRuntime *rt = vm->runtime;

        switch (stage) {

        case STAGE_AGENT:
                *ret_usec = c->shutdown_timeout;
                return vm_agent_is_ready(vm) && agent_shutdown(rt->agent) >= 0;

        case STAGE_POWERDOWN:
                *ret_usec = c->powerdown_timeout;
                return rt->monitor && vm->hypervisor->powerdown &&
                        vm->hypervisor->powerdown(rt->monitor, on_powerdown, vm) >= 0;

        case STAGE_SCOPE:
                *ret_usec = c->stop_timeout;
                if (rt->monitor && vm->hypervisor->quit && vm->hypervisor->quit(rt->monitor, NULL, NULL) >= 0)
                        return true;
                /* Its connection was lost: what systemctl stop would send is the next best. */
                return rt->process.pid > 0 && !rt->exited && pidfd_send(rt->process.pidfd, SIGTERM) >= 0;

        case STAGE_KILL:
                *ret_usec = c->stop_timeout;
                log_vm_info(vm, "Killing VM '%s'.", vm->name);
                vm_kill(vm);
                return true;

        default:
                return false;
        }
}

static void stop_next(Vm *vm) {
        uint64_t usec = 0;

        while (vm->runtime && vm->runtime->stop_stage < STAGE_WAIT) {
                unsigned stage = vm->runtime->stop_stage++;

                if (!stop_stage(vm, stage, &usec))
                        continue;
                if (vm->runtime) /* a kill may have ended it within */
                        (void) vm_arm_timer(vm, usec, on_stage_timeout);
                return;
        }
        if (vm->runtime)
                log_vm_warning(vm, "VM '%s' was killed and is still there; waiting for the kernel.", vm->name);
}

void vm_stop_by_force(Vm *vm) {
        if (!vm->runtime || vm->state != VM_STOPPING || vm->runtime->stop_stage > STAGE_KILL)
                return;
        vm->runtime->stop_stage = STAGE_KILL;
        (void) vm_arm_timer(vm, 0, on_stage_timeout);
}

static int stop_begin(Vm *vm, char **ret_text) {
        if (!vm_state_is_active(vm->state)) {
                job_step_done(vm, 0, NULL); /* stopped already is what was asked for */
                return 0;
        }
        if (vm->state == VM_STOPPING) {
                /* Adopted from the former daemon and under way already; its end is ours, too. */
                if (vm->job->force)
                        vm_stop_by_force(vm);
                return 0;
        }
        if (vm->state == VM_HIBERNATED) {
                vm_end_asleep(vm);
                return 0;
        }
        vm_disarm_timer(vm);
        /* Only when systemd stops the scope of a suspended VM: PID 1 has thawed it, the guest has yet to go on. */
        if (vm->state == VM_SUSPENDED && !vm->job->force && vm->runtime->monitor && vm->hypervisor->resume)
                (void) vm->hypervisor->resume(vm->runtime->monitor, NULL, NULL);
        vm_set_state(vm, VM_STOPPING, vm->job->force ? "Stopping by force." : "Shutting down.");
        vm->runtime->stop_stage = vm->job->force ? STAGE_KILL : STAGE_AGENT;
        stop_next(vm);
        return 0;
}

void vm_stop_adopted(Vm *vm) {
        vm->runtime->stop_stage = STAGE_AGENT;
        stop_next(vm);
}

const Step step_stop = { .word = "stop", .begin = stop_begin };
