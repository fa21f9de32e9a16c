/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libsquashfs's view of an open file of ours, or of memory; it wants an interface, and a path only for its
 * own implementation. */

#include <sqfs/io.h>
#include <sys/queue.h>

#include "basic/macro.h"

typedef struct SquashfsFile {
        sqfs_file_t base;
        int fd;
        int error; /* what the last failure was, for the library says only "I/O error" */
        uint64_t size;
} SquashfsFile;

/* What grows at its end only, and is moved into a file as a whole. */
typedef struct SquashfsMemory {
        sqfs_file_t base;
        uint64_t size;
        TAILQ_HEAD(MemoryChunks, MemoryChunk) chunks;
} SquashfsMemory;

/* fd: empty, open for reading and writing, stays the caller's. */
void squashfs_file_init(SquashfsFile *f, int fd);

/* SQFS_ERROR_IO, with the error in f. */
int squashfs_file_append(SquashfsFile *f, const void *p, size_t n);
int squashfs_file_truncate(SquashfsFile *f, uint64_t size);

void squashfs_memory_init(SquashfsMemory *m);
void squashfs_memory_done(SquashfsMemory *m);
/* Appends all of it and leaves it empty, as it goes. Errors as above. */
int squashfs_memory_move(SquashfsMemory *m, SquashfsFile *file);
