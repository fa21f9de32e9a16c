/* SPDX-License-Identifier: Apache-2.0 */

/* The first step of a VM: its image is known by digest and its disk exists. */

#include <fcntl.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/manager.h"
#include "compute/run-config.h"
#include "compute/steps.h"
#include "compute/vm-record.h"
#include "shared/log.h"
#include "storage/overlay.h"

static void prepare_failed(Vm *vm, int error, const char *text) {
        vm_set_state(vm, VM_FAILED, "%s", text ?: strerror(-error));
        job_step_done(vm, error, vm->reason);
}

/* Found out now rather than when the guest waits for its boot message. */
static int check_run_config(const Vm *vm, const VmImageConfig *image, char **ret_text) {
        _cleanup_(run_config_done) RunConfig run = {};
        int r;

        r = run_config_compose(&vm->spec, image, &run);
        if (r == -E2BIG) {
                *ret_text = strprintf("The image's command and environment and those of VM '%s' are larger than 24 KiB together.",
                                      vm->name);
                return -EDQUOT;
        }
        return r;
}

/* The image's name is settled to a digest first, and what it says about how to run it is kept: from here on a moved tag
 * does not change this VM. */
static int prepare_image(Vm *vm, char **ret_text) {
        const VmImageConfig *config;
        const char *digest;
        int fd, r;

        if (vm->image_digest)
                return 1;
        if (!vm->pulling)
                job_set_word(vm->job, "image");
        r = resources_need_image(vm, vm->spec.image, &digest, &fd, &config, ret_text);
        if (r <= 0)
                return r;
        r = check_run_config(vm, config, ret_text);
        if (r >= 0)
                r = vm_image_config_copy(config, &vm->image_config);
        if (r < 0)
                return r;
        vm->pulling = false;
        r = free_and_strdup(&vm->image_digest, digest);
        return r < 0 ? r : 1;
}

static int prepare_disk(Vm *vm, char **ret_text) {
        _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;
        int template_fd, r;

        job_set_word(vm->job, "disk");
        r = resources_need_template(vm, vm->spec.disk, &template_fd, ret_text);
        if (r <= 0)
                return r;
        dir_fd = vm_directory_open(vm, true);
        if (dir_fd < 0)
                return dir_fd;
        (void) unlinkat(dir_fd, "overlay.img", 0); /* of a daemon that was interrupted right here */
        fd = overlay_clone(template_fd, dir_fd, "overlay.img");
        if (fd < 0) {
                *ret_text = strprintf("Cannot make the disk of VM '%s': %s.", vm->name, strerror(-fd));
                return fd;
        }
        return 1;
}

static void prepare_continue(Vm *vm) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = prepare_image(vm, &text);
        if (r > 0)
                r = prepare_disk(vm, &text);
        if (r == 0) {
                vm_record_settle(vm);
                return; /* vm_prepare_resource() follows */
        }
        if (r < 0) {
                prepare_failed(vm, r, text);
                return;
        }
        vm_changed(vm, "ImageDigest", NULL);
        vm_set_state(vm, VM_CONFIGURED, "Image and disk are there.");
        /* Nobody is told "done" of a VM that the next daemon would take for half made, and remove. */
        r = vm->unsaved ? vm_record_save(vm) : 0;
        if (r < 0) {
                text = strprintf("Cannot write the record of VM '%s': %s.", vm->name, strerror(-r));
                prepare_failed(vm, r, text);
                return;
        }
        job_step_done(vm, 0, NULL);
}

void vm_prepare_resource(Vm *vm, int error, const char *text) {
        if (error < 0)
                prepare_failed(vm, error, text);
        else
                prepare_continue(vm);
}

static int prepare_begin(Vm *vm, char **ret_text) {
        int r;

        if (vm->state == VM_PENDING)
                vm_set_state_ahead(vm, VM_PROVISIONING, "Getting image and disk.");
        r = vm->state == VM_PROVISIONING ? 0 : -EBADFD;
        if (r >= 0)
                prepare_continue(vm);
        return r;
}

static void prepare_cancel(Vm *vm) {
        resources_forget(vm);
        prepare_failed(vm, -ECANCELED, "Canceled.");
}

const Step step_prepare = { .word = "prepare", .begin = prepare_begin, .cancel = prepare_cancel };
