/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The kernel proper out of a vmlinuz: an ELF file that the VMM enters directly (PVH) instead of running firmware,
 * loader and decompressor. Worth half a second of an emulated CPU at every start, and some time of a real one. */

#include "basic/macro.h"

/* Identity of the file at path, as initrd_key() is of an initrd. */
#define VMLINUX_KEY_MAX 33u
int vmlinux_key(const char *path, char ret[static VMLINUX_KEY_MAX]);

/* Writes it to fd. -EOPNOTSUPP: this one cannot be booted so (no bzImage, unknown compression, no PVH entry);
 * other -errno when reading or writing failed. */
int vmlinux_extract(const char *path, int fd);

/* Whether an ELF file begins with headers and notes that a VMM can enter. Pure. */
bool vmlinux_has_pvh_entry(const uint8_t *p, size_t n);
