/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Finds the kernel for guests: the configured one, else the newest cloud kernel that is installed on the host or
 * was unpacked for us, else the newest kernel of any kind. */

#include "basic/macro.h"

typedef struct Kernel {
        char *path;        /* /boot/vmlinuz-VERSION */
        char *version;     /* 6.1.0-56-cloud-amd64 */
        char *modules_dir; /* /lib/modules/VERSION */
} Kernel;

void kernel_done(Kernel *k);

/* Where to look: "/" for the host's own, and a directory in which a kernel package was unpacked. Below each:
 * boot/vmlinuz-VERSION, and lib/modules/VERSION or usr/lib/modules/VERSION. NULL-terminated. */
extern const char *const kernel_default_roots[];

/* configured: an absolute path .../vmlinuz-VERSION, or NULL. Its modules are looked for in the tree it lies in,
 * then in the roots; or they are in the directory modules, unless that is NULL. -ENOPKG with a sentence in *ret_why
 * (allocated). */
int kernel_find(const char *configured, const char *modules, const char *const roots[], Kernel *ret, char **ret_why);

/* As strverscmp(), but "6.10" is newer than "6.9~rc1" and "6.9" newer than "6.9~rc1". */
int kernel_version_compare(const char *a, const char *b);
