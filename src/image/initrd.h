/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's initrd: hero-init as /init, and the modules of a ModuleSet. Not part of libimage: hero-mkinitrd
 * alone links libkmod, libarchive and libgcrypt, the daemon runs it. */

#include "basic/macro.h"

typedef struct InitrdSpec {
        const char *kernel_version; /* a name, nothing is looked up by it */
        const char *modules_dir;    /* …/lib/modules/VERSION */
        const char *init_path;      /* hero-init */
} InitrdSpec;

/* A string that is the same exactly when the content would be: a hash over hero-init, the list of wanted modules
 * and the identity of the modules directory. Cheap: no module is read. -errno with a sentence. */
#define INITRD_KEY_MAX 33u
int initrd_key(const InitrdSpec *spec, char ret[static INITRD_KEY_MAX], char **ret_why);

/* Writes the archive to fd. -errno with a sentence. */
int initrd_write(const InitrdSpec *spec, int fd, char **ret_why);
