/* SPDX-License-Identifier: Apache-2.0 */

/* Monitor, agent and console of a VM: made into objects once there is something at their other end, and what they say is
 * brought to the VM's state. */

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/manager.h"
#include "compute/steps.h"
#include "compute/vm-awake.h"
#include "compute/vm-exit.h"
#include "compute/vm-wait.h"
#include "shared/log.h"

/* Only said once: a daemon after us has it from the record, which is written with what there is to tell of the VM. */
static void take_version(Vm *vm, VmmMonitor *m) {
        const char *version = vm->hypervisor->version ? vm->hypervisor->version(m) : NULL;

        if (!version || streq_ptr(vm->runtime->vmm_version, version) || free_and_strdup(&vm->runtime->vmm_version, version) < 0)
                return;
        vm->unsaved = true;
        vm_changed(vm, "Accelerator", NULL);
}

static void on_monitor(VmmMonitor *m, VmmEvent event, void *userdata) {
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;

        log_vm_debug(vm, "Monitor of VM '%s': %s", vm->name, vmm_event_to_string(event));
        switch (event) {

        case VMM_EVENT_READY:
                rt->monitor_ready = true;
                vm->phases.monitor = now_usec(CLOCK_MONOTONIC);
                take_version(vm, m);
                if (rt->restoring)
                        vm_restore_ready(vm);
                if (vm->state == VM_STARTING && vm->failure == 0) {
                        (void) vm_start_wait_for_agent(vm);
                        vm_start_check_running(vm);
                }
                break;

        case VMM_EVENT_GUEST_SHUTDOWN:
                if (rt->end < VM_END_GUEST_SHUTDOWN)
                        rt->end = VM_END_GUEST_SHUTDOWN;
                break;

        case VMM_EVENT_HOST_SHUTDOWN:
                if (rt->end < VM_END_HOST_STOP)
                        rt->end = VM_END_HOST_STOP;
                break;

        case VMM_EVENT_GUEST_PANIC:
                log_vm_warning(vm, "The kernel of VM '%s' panicked.", vm->name);
                break;

        case VMM_EVENT_LOST:
                /* Usually the process is ending and its pidfd says so in a moment. If it lives on, it cannot be
                 * controlled any more, which a later pause or stop reports. */
                log_vm_debug(vm, "Lost the monitor of VM '%s'.", vm->name);
                break;

        default:
                break;
        }
}

static void on_agent(Agent *a, AgentEvent event, int status, const char *text, void *userdata) {
        _cleanup_free_ char *why = NULL;
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;

        switch (event) {

        case AGENT_HELLO:
                vm->phases.hello = now_usec(CLOCK_MONOTONIC);
                break;

        case AGENT_READY:
                rt->agent_ready = true;
                vm->phases.ready = now_usec(CLOCK_MONOTONIC);
                if (vm->state == VM_STARTING)
                        vm_start_check_running(vm);
                else {
                        vm_changed(vm, "AgentReady", NULL);
                        vm_waiters_wake(vm);
                        vm_awake_agent(vm);
                }
                break;

        case AGENT_BOOT_FAILED:
                why = strprintf("The guest could not boot: %s", strempty(text));
                if (vm->state != VM_STARTING)
                        break;
                if (status > 0)
                        vm_exit_not_executed(vm, status);
                vm_start_fail(vm, -ENOEXEC, why);
                break;

        case AGENT_COMMAND_EXIT:
                rt->end = VM_END_COMMAND;
                vm_exit_command(vm, status);
                break;

        case AGENT_COMMAND_SIGNAL:
                rt->end = VM_END_COMMAND;
                vm_exit_signal(vm, status);
                break;

        case AGENT_STOPPING:
                if (rt->end < VM_END_GUEST_SHUTDOWN)
                        rt->end = VM_END_GUEST_SHUTDOWN;
                break;

        case AGENT_LOST:
                rt->agent_lost = true;
                if (vm->state == VM_STARTING && rt->executed && !rt->agent_ready)
                        break; /* the process is about to end, or the time limit tells */
                log_vm_debug(vm, "Lost the agent of VM '%s': %s", vm->name, strempty(text));
                vm_changed(vm, "AgentReady", NULL);
                vm_awake_agent(vm);
                break;

        case AGENT_ACTIVITY:
                vm_touch(vm);
                break;
        }
}

int vm_open_channels(Vm *vm, bool adopted) {
        VmRuntime *rt = vm->runtime;
        Manager *m = vm->manager;
        int r;

        if (!rt->console) {
                r = console_new(vm, rt->console_fd, &rt->console);
                if (r < 0)
                        return r;
                rt->console_fd = -EBADF;
        }
        if (rt->monitor_fd >= 0) {
                r = vm->hypervisor->monitor_new(m->event, rt->monitor_fd, adopted, on_monitor, vm, &rt->monitor);
                if (r < 0)
                        return r;
                rt->monitor_fd = -EBADF;
        }
        if (rt->agent_fd >= 0) {
                r = agent_new(vm, TAKE_FD(rt->agent_fd), adopted || rt->restoring, on_agent, vm, &rt->agent);
                if (r < 0)
                        return r;
        }
        return 0;
}

int vm_arm_timer(Vm *vm, uint64_t usec, sd_event_time_handler_t handler) {
        VmRuntime *rt = vm->runtime;

        rt->timer = sd_event_source_disable_unref(rt->timer);
        if (usec == USEC_INFINITY)
                return 0;
        return sd_event_add_time_relative(vm->manager->event, &rt->timer, CLOCK_MONOTONIC, usec, 0, handler, vm);
}

void vm_disarm_timer(Vm *vm) {
        if (vm->runtime)
                vm->runtime->timer = sd_event_source_disable_unref(vm->runtime->timer);
}
