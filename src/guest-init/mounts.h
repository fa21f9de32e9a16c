/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's file systems: the kernel's own, and the image's root with its overlay. */

#include "guest-init/modules.h"

/* proc, sys, dev, run and their like in the initramfs. Fails only for what nothing works without. */
int mounts_early(void);

typedef struct Root {
        int overlay_fd; /* the directory of the writable layer, to make it read-only at the end; -EBADF before */
} Root;

#define ROOT_NONE ((Root) { .overlay_fd = -EBADF })

/* Mounts root (read-only squashfs or erofs) and overlay (ext4; NULL: a tmpfs) and makes their union the root
 * directory of this process. Devices are "/dev/NAME" or "serial:ID". The initramfs is emptied on the way.
 * 0 or -errno with a sentence in *ret_why (allocated). */
int root_switch(Root *root, const char *root_device, const char *overlay_device, char **ret_why);

/* When nothing runs any more: makes all file systems consistent on disk. */
void root_finish(Root *root);
