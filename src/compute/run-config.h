/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What runs in a VM: the image's word, with that of whoever made the VM over it. Pure.
 *
 *     Command given             that, and nothing of the image's command
 *     Entrypoint given          that, then Arguments; the image's own arguments belong to its own entrypoint and go with it
 *     Arguments given           the image's entrypoint, then those
 *     nothing given             the image's entrypoint and command; but nothing at all when that is a mere shell, which would
 *                               end at once where nobody types: the VM stays, as it does for images that name no command
 *     RunImage=false            nothing, whatever the image says
 *
 * An init (init_is_wanted()) is what the guest is to have as PID 1. Environment: the image's, the VM's over it by name. */

#include "compute/image-config.h"
#include "compute/vm-spec.h"

typedef struct RunConfig {
        char **args;             /* NULL: nothing runs */
        char **environment;
        char *working_directory; /* absolute; NULL: / */
        char *user;              /* user[:group]; NULL: root */
        int stop_signal;         /* as Linux on x86 numbers them */
        bool init;
} RunConfig;

void run_config_done(RunConfig *c);

/* 0, -ENOMEM, or -E2BIG: more than VM_STRINGS_SIZE_MAX together. */
int run_config_compose(const VmSpec *spec, const VmImageConfig *image, RunConfig *ret);

bool init_is_wanted(char *const *args);

/* "SIGTERM", "TERM", "15", "SIGRTMIN+3", "SIGRTMAX-1"; -EINVAL. */
int stop_signal_from_string(const char *s);
