/* SPDX-License-Identifier: Apache-2.0 */

/* The last step of a VM: its files go, then its objects, then the VM itself. */

#include "basic/string-util.h"
#include "compute/manager.h"
#include "compute/steps.h"
#include "compute/vm-record.h"
#include "shared/bus-util.h"
#include "shared/log.h"

static int remove_begin(Vm *vm, char **ret_text) {
        int r;

        if (vm_state_is_active(vm->state)) {
                *ret_text = strdup("The VM is still there.");
                return -EBADFD;
        }
        r = vm_record_remove(vm);
        if (r < 0) {
                *ret_text = strprintf("Cannot remove the files of VM '%s': %s.", vm->name, strerror(-r));
                return r;
        }
        log_vm_info(vm, "VM '%s' was deleted.", vm->name);
        signals_vm_removed(vm);
        vm->removed = true;
        job_step_done(vm, 0, NULL); /* ends the job, or what follows needs no VM */
        vm_free(vm);
        return 0;
}

const Step step_remove = { .word = "remove", .begin = remove_begin };
