/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directory table of a SquashFS 4.0 file system in the making. libsquashfs has a writer for it
 * (sqfs_dir_writer_t), but that one copies each entry of a directory into an allocation of its own before it
 * writes any, and its table waits in memory without compression: 27 MB for 200,000 files in one directory.
 * Here entries go from the tree straight into the table, and the table waits compressed. */

#include <sqfs/compressor.h>
#include <sqfs/inode.h>

#include "basic/macro.h"
#include "imaged/image-tree.h"
#include "imaged/squashfs-file.h"

typedef struct SquashfsDirectories SquashfsDirectories;

/* The compressor stays the caller's, for as long as this is there. All return an SQFS_ERROR. */
int squashfs_directories_new(sqfs_compressor_t *compressor, SquashfsDirectories **ret);
SquashfsDirectories *squashfs_directories_free(SquashfsDirectories *d);
DEFINE_TRIVIAL_CLEANUP_FUNC(SquashfsDirectories *, squashfs_directories_free);

/* Adds what is in a directory: its children, sorted by tree_sort(), each with the number and location of its
 * inode. Returns the directory's own inode with all but what all inodes have; sqfs_free() frees it. */
int squashfs_directories_add(SquashfsDirectories *d, const TreeNode *directory, uint32_t parent_number,
                sqfs_inode_generic_t **ret);

/* Appends the table; the end of it. */
int squashfs_directories_write(SquashfsDirectories *d, SquashfsFile *file);
