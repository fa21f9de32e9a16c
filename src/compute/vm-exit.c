/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm-exit.h"

#include <signal.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "compute/vm-record.h"

static void set(Vm *vm, int code, const char *reason) {
        vm->exit_code = code;
        (void) free_and_strdup(&vm->exit_reason, reason);
        vm->unsaved = true;
        vm_changed(vm, "ExitCode", "ExitReason", NULL);
}

void vm_exit_reset(Vm *vm) {
        if (vm->exit_code >= 0 || vm->exit_reason)
                set(vm, -1, NULL);
}

/* Saved at once: the end of the VMM may come while another daemon looks. */
static void set_command(Vm *vm, int code, const char *reason) {
        set(vm, code, reason);
        vm_record_settle(vm);
}

void vm_exit_command(Vm *vm, int status) {
        set_command(vm, status, "exited");
}

void vm_exit_signal(Vm *vm, int signal) {
        set_command(vm, 128 + signal, "signaled");
}

void vm_exit_not_executed(Vm *vm, int code) {
        set_command(vm, code, "not-executed");
}

void vm_exit_set(Vm *vm, const char *reason) {
        if (!vm->exit_reason)
                set(vm, -1, reason);
}

static const char *start_failure(const Vm *vm) {
        if (vm->failure == -ECANCELED)
                return NULL;
        return vm->failure == -ENOEXEC ? "boot-failed" : "start-failed";
}

void vm_exit_gone(Vm *vm) {
        const VmRuntime *rt = vm->runtime;
        const char *reason = "vmm-failed";

        if (rt->end == VM_END_OOM || rt->end == VM_END_HOST_OOM)
                reason = "oom";
        else if (vm->state == VM_STARTING)
                reason = start_failure(vm);
        else if (rt->killed_by_us)
                reason = "killed";
        else if (vm->state == VM_STOPPING || rt->end == VM_END_HOST_STOP)
                reason = "stopped";
        else if (rt->end == VM_END_GUEST_SHUTDOWN || (rt->end == VM_END_EXITED && rt->end_status == 0))
                reason = "shutdown";
        else if (rt->end == VM_END_KILLED &&
                 (rt->end_status == SIGTERM || rt->end_status == SIGINT || rt->end_status == SIGHUP))
                reason = "stopped";
        if (reason)
                vm_exit_set(vm, reason);
}

char *vm_exit_sentence(const Vm *vm) {
        if (streq_ptr(vm->exit_reason, "signaled"))
                return strprintf("Its command was ended by SIG%s.", sigabbrev_np(vm->exit_code - 128) ?: "RT");
        return strprintf("Its command ended with status %i.", vm->exit_code);
}
