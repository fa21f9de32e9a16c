/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between resources.c and the files of the single resources. */

#include "compute/image-config.h"
#include "compute/resources.h"

struct CachedImage {
        TAILQ_ENTRY(CachedImage) images;
        Manager *manager;
        char *reference, *digest;
        VmImageConfig config;
        int fd; /* -EBADF: being opened or pulled */
        sd_bus_slot *slot;
        VmQueue waiting;

        /* image-pull.c */
        bool pulling:1, pulled:1, retried:1, was_busy:1;
        char *pull_job; /* path of hero-imaged's job; NULL: not known yet */
        uint64_t done, total;
};

CachedImage *image_free(CachedImage *i);
int image_open(CachedImage *i, const char *reference);
void cached_image_failed(CachedImage *i, int error, const char *text); /* freed, and those who wait are told */

bool image_pull_is_wanted(const CachedImage *i, const sd_bus_error *e);
int image_pull_begin(CachedImage *i);
void image_pull_joined(CachedImage *i, Vm *vm); /* the VM waits, too */
int image_pull_register(Manager *m);
/* A VM stopped waiting for something. */
void images_check_abandoned(Manager *m);

void resources_wait(Vm *vm, VmQueue *queue);
void resources_wake(VmQueue *queue, int error, const char *text);

void images_done(Manager *m);
void templates_done(Manager *m);
void boot_files_done(Manager *m);
void accelerator_done(Manager *m);
int images_register(Manager *m);
