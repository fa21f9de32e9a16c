/* SPDX-License-Identifier: Apache-2.0 */

/* Waking a VM that sleeps without a VMM: from the disk, or from memory when it had not got that far or that was kept. A new VMM is started as ever
 * (vm-start.c), with the old memory, TAP, console and agent channel; it loads the devices and goes on.
 *
 * What can be told after any crash: as long as hibernation.img, or the state in systemd's fd store, is there, the guest has not gone
 * on, and can be restored from it. Both are removed immediately before it does, for from then on its disk changes. */

#include <errno.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/close-later.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/registration.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "hypervisor/memory-image.h"
#include "shared/bus-util.h"
#include "shared/log.h"

bool vm_restore_is_bad_image(const Vm *vm, int error) {
        return vm->runtime->restoring && vm->runtime->image_fd >= 0 &&
                (error == -EBADMSG || error == -EPROTONOSUPPORT || error == -ESTALE || error == -EINVAL);
}

void vm_restore_gone(Vm *vm, int error, const char *text) {
        _cleanup_free_ char *why = strdup(text ?: strerror(-error));
        VmRuntime *rt = vm->runtime;

        rt->restoring = rt->kept = rt->to_suspended = false;
        rt->sleep_error = 0;
        vm_runtime_end_process(vm);
        vm->failure = 0;
        vm_network_rest(vm);
        if (vm->state == VM_RESUMING)
                vm_set_state(vm, VM_HIBERNATED, "Could not be woken: %s It sleeps on; stop it by force to start it anew.",
                             strempty(why));
        if (rt->image_fd >= 0)
                vm_give_memory_back(vm); /* it is on disk */
        vm_changed(vm, "PID", NULL);
        job_step_done(vm, error, vm->reason);
}

/* Its failure has been reported as the reason why it is not on disk. */
static void done(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        _cleanup_free_ char *text = TAKE_PTR(rt->sleep_text);
        int error = rt->sleep_error;

        rt->sleep_error = 0;
        rt->to_suspended = false;
        job_step_done(vm, error, text);
}

static void on_frozen(Vm *vm, int error, const char *text) {
        if (vm->state != VM_RESUMING)
                return;
        if (error < 0)
                log_vm_warning(vm, "Freezing %s: %s", vm->unit, text ?: strerror(-error));
        vm_set_state(vm, VM_SUSPENDED, "%s", strempty(vm->runtime->sleep_text));
        done(vm);
}

static void on_running(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;

        if (vm->state != VM_RESUMING || error == -ECONNRESET)
                return;
        if (error < 0) {
                vm_start_fail(vm, -ENOTRECOVERABLE, text);
                return;
        }
        vm_woken(vm, "Woken from hibernation.");
        vm_changed(vm, "Accelerator", NULL);
        done(vm);
}

/* From here on there is no way back. */
static int guest_goes_on(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        int r;

        r = vm_hibernate_discard(vm);
        if (r < 0)
                return r;
        rt->image_fd = close_later(rt->image_fd); /* now nobody has it: what it took of disk and page cache is given back (8 ms) */
        rt->state_fd = safe_close(rt->state_fd);
        rt->restoring = rt->kept = false;
        return 0;
}

static void on_loaded(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;
        int r;

        if (vm->state != VM_RESUMING || !rt->restoring || error == -ECONNRESET)
                return; /* a VMM that cannot load ends, and says why */
        if (error < 0) {
                vm_start_fail(vm, -ENOTRECOVERABLE, text);
                return;
        }
        r = guest_goes_on(vm);
        if (r < 0) {
                vm_start_fail(vm, r, "What it slept in cannot be removed, and must not be there when it goes on.");
                return;
        }
        if (rt->to_suspended && !vm->wake_wanted) {
                vm_disarm_timer(vm);
                r = scope_freeze(vm, on_frozen);
        } else
                r = vm->hypervisor->resume(rt->monitor, on_running, vm);
        if (r < 0)
                vm_start_fail(vm, r, "Cannot ask the VMM to resume, or systemd to freeze.");
}

static int open_state(Vm *vm, char **ret_text) {
        VmRuntime *rt = vm->runtime;

        if (rt->image_fd >= 0 && !rt->kept)
                return memory_image_read_state(rt->image_fd, &rt->state_fd, ret_text);
        return lseek(rt->state_fd, 0, SEEK_SET) < 0 ? negative_errno() : 0;
}

static int check_version(Vm *vm, char **ret_text) {
        const VmRuntime *rt = vm->runtime;
        MemoryImage image;
        int r;

        if (rt->image_fd < 0)
                return 0; /* a moment ago it was another VMM's; should that be of another version, it says so itself */
        r = memory_image_read_header(rt->image_fd, &image, ret_text);
        return r < 0 ? r : memory_image_check(&image, vm->id, vm->hypervisor->name, rt->vmm_version, rt->memory, ret_text);
}

void vm_restore_ready(Vm *vm) {
        _cleanup_free_ char *text = NULL;
        VmRuntime *rt = vm->runtime;
        int r;

        if (vm->failure < 0 || !rt->executed || !rt->monitor_ready)
                return;
        r = check_version(vm, &text);
        if (r >= 0)
                r = open_state(vm, &text);
        if (r >= 0)
                r = vm->hypervisor->load(rt->monitor, rt->state_fd, on_loaded, vm);
        if (r < 0)
                vm_start_fail(vm, vm_restore_is_bad_image(vm, r) ? -ESTALE : r, text);
}

static void restore_continue(Vm *vm) {
        _cleanup_free_ char *text = NULL;
        VmRuntime *rt = vm->runtime;
        int root_fd = rt->root_fd, tap_fd = -EBADF, r = 1;
        const char *digest;

        if (root_fd < 0)
                r = resources_need_image(vm, vm->image_digest ?: vm->spec.image, &digest, &root_fd, NULL, &text);
        if (r > 0)
                r = vm_start_network(vm, &tap_fd, &text);
        if (r == 0)
                return;
        if (r > 0)
                r = vm_launch(vm, tap_fd, root_fd, -EBADF, -EBADF, &text);
        if (r < 0)
                vm_start_fail(vm, r, text);
}

void vm_restore_resource(Vm *vm, int error, const char *text) {
        if (error < 0)
                vm_start_fail(vm, error, text);
        else
                restore_continue(vm);
}

static int reserve(Vm *vm, char **ret_text) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        int r;

        r = capacity_reserve_run(vm, &e);
        if (r < 0)
                *ret_text = e.message ? strdup(e.message) : NULL;
        return r;
}

/* What is on disk, looked at before anything is begun. */
static int open_image(Vm *vm, char **ret_text) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *why = NULL;
        MemoryImage image;
        int r;

        fd = vm_hibernate_open_image(vm);
        if (fd < 0) {
                *ret_text = strprintf("Cannot open its " MEMORY_IMAGE_NAME ": %s. Stop the VM by force to start it anew.",
                                      strerror(-fd));
                return -ENOTRECOVERABLE;
        }
        r = memory_image_read_header(fd, &image, ret_text);
        if (r >= 0)
                r = memory_image_check(&image, vm->id, vm->hypervisor->name, NULL, vm->runtime->memory, ret_text);
        if (r < 0) {
                why = *ret_text;
                *ret_text = strprintf("%s Stop the VM by force to start it anew.", why ?: strerror(-r));
                return r;
        }
        vm->runtime->image_fd = TAKE_FD(fd);
        return 0;
}

int vm_restore_begin(Vm *vm, char **ret_text) {
        VmRuntime *rt = vm->runtime;
        int r;

        if (rt->memory_fd < 0 || rt->state_fd < 0) {
                r = open_image(vm, ret_text);
                if (r < 0)
                        return r; /* the job ends with it, and packets that wait are let go: vm_awake_look() */
                rt->kept = kept_memory_take(vm);
        }
        r = reserve(vm, ret_text);
        if (r < 0) {
                rt->image_fd = safe_close(rt->image_fd);
                if (rt->kept)
                        kept_memory_put_back(vm);
                rt->kept = false;
                return r;
        }
        vm->failure = 0;
        vm->failure_text = mfree(vm->failure_text);
        rt->restoring = true;
        vm->phases = (VmPhases) { .requested = now_usec(CLOCK_MONOTONIC) };
        vm_set_state(vm, VM_RESUMING, "Waking from hibernation.");
        restore_continue(vm);
        return 0;
}
