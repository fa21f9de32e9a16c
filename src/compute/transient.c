/* SPDX-License-Identifier: Apache-2.0 */

/* A transient VM (Transient in its spec) goes with its disk once it has stopped or failed after having been started. It is
 * the daemon that begins the job, the same that Delete() makes, as soon as no other works on the VM: not between the halves
 * of a restart. Nothing of this is kept: adoption looks at every VM anew. */

#include "compute/transient.h"

#include "basic/string-util.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "shared/bus-util.h"
#include "shared/log.h"

static bool has_ended(const Vm *vm) {
        /* A first start that failed leaves a VM to look at; one that ran has had its life. */
        return vm->started > 0 &&
                (vm->state == VM_STOPPED || vm->state == VM_FAILED || vm->state == VM_START_FAILED);
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Vm *vm = userdata;
        Job *j;
        int r;

        if (vm->job || !has_ended(vm))
                return 0; /* we are called again when that is over */
        if (vm->awaited && !vm->lingered) {
                vm->lingered = true;
                transient_look(vm, TRANSIENT_LINGER);
                return 0;
        }
        r = request_delete(vm, false, JOB_DELETE, &j, &error);
        if (r < 0) {
                log_vm_warning(vm, "Cannot delete the transient VM '%s' yet: %s", vm->name, error.message ?: strerror(-r));
                transient_look(vm, TRANSIENT_RETRY);
        }
        return 0;
}

void transient_look(Vm *vm, uint64_t delay_usec) {
        int r;

        if (!vm->spec.transient || vm->job || !has_ended(vm))
                return;
        vm->transient_timer = sd_event_source_disable_unref(vm->transient_timer);
        r = sd_event_add_time_relative(vm->manager->event, &vm->transient_timer, CLOCK_MONOTONIC, delay_usec, 0, on_time, vm);
        if (r < 0)
                log_vm_error_errno(vm, r, "Cannot delete the transient VM '%s': %m", vm->name);
}

void transient_answered(Vm *vm) {
        vm->awaited = vm->awaited || has_ended(vm);
}

void transient_reset(Vm *vm) {
        vm->awaited = vm->lingered = false;
}
