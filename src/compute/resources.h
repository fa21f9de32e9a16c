/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What many VMs need and one of them has to wait for first: images (from hero-imaged), overlay templates (by mke2fs), the
 * kernel with its initrd (by hero-mkinitrd), the accelerator (by hero-kvm-probe). Each is asked for once however many
 * wait, and what comes is kept.
 *
 * The need functions return 1: it is there; 0: it is being got, the VM is called again (vm_prepare_continue() or
 * vm_start_continue() by its state) or its step fails with the reason; -errno with a sentence in *ret_text. */

#include <sys/queue.h>

#include "compute/vm.h"

#define IMAGE_CACHE_MAX 32u
#define TEMPLATE_CACHE_MAX 8u

typedef TAILQ_HEAD(VmQueue, Vm) VmQueue;

typedef struct Resources Resources;
typedef struct CachedImage CachedImage;
typedef struct Template Template;

struct Resources {
        TAILQ_HEAD(CachedImages, CachedImage) images; /* most recently used first */
        unsigned n_images;
        TAILQ_HEAD(Templates, Template) templates;
        unsigned n_templates;

        /* kernel and initrd */
        char *kernel_path, *initrd_path, *kernel_version;
        uint64_t kernel_stamp;
        int kernel_fd, initrd_fd;
        struct Child *mkinitrd;
        VmQueue boot_waiting;

        /* accelerator */
        Accelerator accelerator; /* AUTO: not known yet */
        char *accelerator_why;
        struct Child *kvm_probe;
        VmQueue accelerator_waiting;
};

int resources_init(Manager *m);
void resources_done(Manager *m);
/* Configuration was read again. */
void resources_flush(Manager *m);

/* reference is what the VM names, or its digest once that is known. What is returned stays the cache's; ret_config may be
 * NULL. */
int resources_need_image(Vm *vm, const char *reference, const char **ret_digest, int *ret_fd,
                         const VmImageConfig **ret_config, char **ret_text);
/* Those that are open: the next VM asks hero-imaged again. */
void resources_forget_images(Manager *m);
int resources_need_template(Vm *vm, uint64_t size, int *ret_fd, char **ret_text);
int resources_need_boot(Vm *vm, int *ret_kernel_fd, int *ret_initrd_fd, char **ret_text);
int resources_need_accelerator(Vm *vm, Accelerator *ret, char **ret_text);

/* The VM stops waiting (cancelled). */
void resources_forget(Vm *vm);
