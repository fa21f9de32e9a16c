/* SPDX-License-Identifier: Apache-2.0 */

/* Adopting a VM whose guest sleeps without a VMM, or was on its way there or back when the former daemon ended. */

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/adoption-internal.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "compute/steps.h"
#include "compute/vm-awake.h"
#include "shared/log.h"

void adopt_between(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (vm->state == VM_HIBERNATING)
                rt->saved = true;
        else {
                if (rt->state_fd < 0)
                        rt->image_fd = vm_hibernate_open_image(vm);
                rt->restoring = true;
                vm->wake_wanted = true;
                vm->failure = -ECANCELED;
        }
        vm_kill(vm);
}

bool adopt_is_saved(Vm *vm) {
        _cleanup_close_ int image_fd = -EBADF;

        if (vm->runtime->state_fd >= 0)
                return true;
        /* One that resumes in its VMM has nothing to do with what an image says. */
        if (vm->runtime->restoring)
                image_fd = vm_hibernate_open_image(vm);
        vm->runtime->restoring = false;
        return image_fd >= 0;
}

/* Where it sleeps without a VMM: in memory and with what its VMM said of it (0), or on disk (1). An image from before the host was
 * started anew is good for a guest that had not begun to wake. */
static int find_asleep(FdStore *store, Vm *vm, const VmRecordRuntime *record, const char *name) {
        VmRuntime *rt = vm->runtime;

        rt->restoring = false;
        adoption_take_channels(store, vm, name);
        rt->monitor_fd = safe_close(rt->monitor_fd);
        rt->state_fd = adoption_take_state(store, vm);
        if (vm->state != VM_RESUMING || record->same_boot)
                rt->image_fd = vm_hibernate_open_image(vm);
        if (rt->image_fd < 0 && (rt->memory_fd < 0 || rt->state_fd < 0))
                return -ENODATA;
        if (rt->image_fd < 0)
                return 0;
        rt->image_fd = safe_close(rt->image_fd);
        return 1;
}

/* The channels are those of its next VMM, too, or it gets new ones. */
static int open_asleep(FdStore *store, Vm *vm) {
        VmRuntime *rt = vm->runtime;
        int r;

        if (rt->agent_fd < 0 || rt->agent_peer < 0 || rt->console_fd < 0 || rt->console_peer < 0) {
                rt->agent_fd = safe_close(rt->agent_fd);
                rt->agent_peer = safe_close(rt->agent_peer);
                rt->console_fd = safe_close(rt->console_fd);
                rt->console_peer = safe_close(rt->console_peer);
                return 0;
        }
        rt->agent_ready = true;
        r = vm_open_channels(vm, true);
        if (r < 0)
                return r;
        adoption_take_clients(store, vm);
        return 0;
}

void adopt_ended_between(FdStore *store, Vm *vm) {
        _cleanup_free_ char *name = strprintf("vm-%s", vm->name);
        VmRuntime *rt = vm->runtime;
        int r;

        rt->monitor_fd = safe_close(rt->monitor_fd);
        vm_network_adopt(vm, name ? adoption_take(store, name, FD_TAG_TAP) : -EBADF);
        r = open_asleep(store, vm);
        if (r < 0)
                log_vm_warning_errno(vm, r, "VM '%s' was adopted without all of its channels: %m", vm->name);
        adopt_between(vm);
}

int adopt_asleep(FdStore *store, Vm *vm, const VmRecordRuntime *record) {
        _cleanup_free_ char *name = strprintf("vm-%s", vm->name);
        bool waking = vm->state == VM_RESUMING, on_disk;
        VmRuntime *rt;
        int r;

        rt = adoption_runtime_new(vm, record);
        if (!rt || !name)
                return -ENOMEM;
        r = find_asleep(store, vm, record, name);
        if (r < 0) {
                fd_store_remove_vm(vm);
                fd_store_remove_state(vm);
                vm_runtime_free(vm);
                return r;
        }
        on_disk = r > 0;
        if (vm->state != VM_HIBERNATED)
                vm_set_state(vm, VM_HIBERNATED, "A restart of hero-computed came between.");
        vm_network_adopt(vm, adoption_take(store, name, FD_TAG_TAP));
        r = open_asleep(store, vm);
        if (on_disk && (rt->memory_fd >= 0 || rt->state_fd >= 0 || vm->network.tap_fd >= 0))
                vm_give_memory_back(vm); /* the former daemon had not come to it */
        if (rt->memory_fd >= 0)
                capacity_force(vm, true);
        if (waking)
                vm_awake(vm, "it was being woken.");
        else if (rt->memory_fd >= 0)
                (void) request_hibernate(vm, &(Job *) { NULL }, NULL);
        return r;
}
