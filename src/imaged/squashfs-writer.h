/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Writes a SquashFS file system with libsquashfs: contents as they come, then the tree that names them. Into
 * one open file, never touching another; the threads that compress are started by squashfs_writer_new() and
 * nothing later, so that a process can forbid itself everything else after that. */

#include "basic/macro.h"
#include "imaged/image-tree.h"

typedef struct SquashfsWriter SquashfsWriter;

/* fd: empty, open for reading and writing, stays the caller's. */
int squashfs_writer_new(int fd, unsigned n_threads, SquashfsWriter **ret);
SquashfsWriter *squashfs_writer_free(SquashfsWriter *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(SquashfsWriter *, squashfs_writer_free);

/* Extended attributes: begin, add…, end gives what belongs into TreeInode.xattrs. add returns 0 for a name
 * that SquashFS cannot hold (it has user.*, trusted.* and security.*), 1 when it was taken. */
int squashfs_writer_xattrs_begin(SquashfsWriter *w);
int squashfs_writer_xattr_add(SquashfsWriter *w, const char *name, const void *value, size_t size);
int squashfs_writer_xattrs_end(SquashfsWriter *w, uint32_t *ret);

/* The contents of a regular file, front to back, exactly size bytes (else -EINVAL). The inode must stay
 * where it is until the writer is freed. A hole takes no place, nor do longer stretches of zeros. */
int squashfs_writer_file_begin(SquashfsWriter *w, TreeInode *inode, uint64_t size);
int squashfs_writer_file_data(SquashfsWriter *w, const void *data, size_t size);
int squashfs_writer_file_hole(SquashfsWriter *w, uint64_t size);
int squashfs_writer_file_end(SquashfsWriter *w);
uint64_t squashfs_writer_file_size(const TreeInode *inode);

/* Forgets the contents of all files, to be given them again. */
int squashfs_writer_restart(SquashfsWriter *w);

/* Writes the tree and all tables; the end of it. -EOVERFLOW: more than 65536 different owners. */
int squashfs_writer_finish(SquashfsWriter *w, Tree *t);
