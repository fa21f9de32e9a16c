/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The overlay disk of a VM: an empty ext4 file system in a sparse file, the writable layer above the image's
 * read-only root (the directories overlayfs wants in it are made by the guest's hero-init).
 *
 * Running mke2fs once per VM would be most of a VM's creation, so there is one template per size, made by
 * mke2fs, and a VM's disk is a copy of its few allocated extents. Nothing here starts a process or waits for
 * one: the caller runs what overlay_mkfs_argv() returns, asynchronously. */

#include "basic/macro.h"

#define OVERLAY_SIZE_MIN (UINT64_C(16) << 20)
/* Not 16 TiB: the largest file of a host's ext4 is one block less. */
#define OVERLAY_SIZE_MAX (UINT64_C(15) << 40)
#define OVERLAY_SIZE_ALIGN (UINT64_C(1) << 20)

/* True for a size an overlay can have: within the bounds, a multiple of OVERLAY_SIZE_ALIGN. */
bool overlay_size_is_valid(uint64_t size);

/* The template for the size, open for reading. -ENOENT: it has to be made first, as follows. */
int overlay_template_open(int dir_fd, uint64_t size);

/* Making a template: take a new anonymous file, run overlay_mkfs_argv(3, size) with it as child_run()'s
 * extra_fd (the number is the one the fd has in the child) and, when the child exited with 0, publish it.
 * Nothing is left behind when any of that fails or the caller dies, and publishing is atomic; when somebody
 * else published the same size in the meantime theirs stays, which is no error. fsyncs a few KB: once per
 * size. */
int overlay_template_new(int dir_fd, uint64_t size); /* fd; -EFBIG when the host's file system cannot */
char **overlay_mkfs_argv(int fd, uint64_t size);     /* NULL: out of memory */
int overlay_template_publish(int fd, int dir_fd, uint64_t size);

/* Makes dir_fd/name (mode 0600, must not exist) a copy of the template and returns it open for reading and
 * writing; nothing is left behind on failure. A reflink where the file system has them, else the allocated
 * extents are copied (< 200 KB for any size). Write-back is started, not waited for: the caller's next fsync
 * of its own record in the same file system, or the guest's first flush, makes it durable. */
int overlay_clone(int template_fd, int dir_fd, const char *name);

/* Grows the disk of a stopped VM. The file system follows when the guest mounts it next (hero-init): what a guest wrote is
 * never read by a tool of the host.
 * -EINVAL when size is not valid or smaller than the disk (0 when it is the same). */
int overlay_grow(int fd, uint64_t size);
