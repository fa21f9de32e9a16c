/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/resources.h"

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "compute/steps.h"

int resources_init(Manager *m) {
        Resources *r = &m->resources;

        TAILQ_INIT(&r->images);
        TAILQ_INIT(&r->templates);
        TAILQ_INIT(&r->boot_waiting);
        TAILQ_INIT(&r->accelerator_waiting);
        r->kernel_fd = r->initrd_fd = -EBADF;
        r->accelerator = ACCELERATOR_AUTO;
        return 0;
}

void resources_done(Manager *m) {
        images_done(m);
        templates_done(m);
        boot_files_done(m);
        accelerator_done(m);
}

void resources_flush(Manager *m) {
        boot_files_done(m);
        accelerator_done(m);
}

void resources_wait(Vm *vm, VmQueue *queue) {
        assert(!vm->waiting_queue);
        TAILQ_INSERT_TAIL(queue, vm, waiting);
        vm->waiting_queue = queue;
}

void resources_forget(Vm *vm) {
        if (!vm->waiting_queue)
                return;
        TAILQ_REMOVE((VmQueue *) vm->waiting_queue, vm, waiting);
        vm->waiting_queue = NULL;
        images_check_abandoned(vm->manager);
}

void resources_wake(VmQueue *queue, int error, const char *text) {
        VmQueue taken = TAILQ_HEAD_INITIALIZER(taken);
        Vm *vm;

        /* Those who come to wait while the present ones are told, wait for the next time. */
        TAILQ_CONCAT(&taken, queue, waiting);
        TAILQ_FOREACH(vm, &taken, waiting)
                vm->waiting_queue = &taken;
        while ((vm = TAILQ_FIRST(&taken))) {
                resources_forget(vm);
                if (vm->state == VM_PROVISIONING)
                        vm_prepare_resource(vm, error, text);
                else if (vm->state == VM_STARTING)
                        vm_start_resource(vm, error, text);
                else if (vm->state == VM_RESUMING)
                        vm_restore_resource(vm, error, text);
        }
}
