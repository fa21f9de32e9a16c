/* SPDX-License-Identifier: Apache-2.0 */

/* Files for libsquashfs, see the header. Owned by a writer. */

#include "imaged/squashfs-file.h"

#include <sqfs/error.h>
#include <stdlib.h>
#include <unistd.h>

static int file_read_at(sqfs_file_t *base, sqfs_u64 offset, void *buffer, size_t size) {
        SquashfsFile *f = (SquashfsFile *) base;
        char *p = buffer;

        while (size > 0) {
                ssize_t n = pread(f->fd, p, size, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        f->error = n < 0 ? negative_errno() : -EIO;
                        return SQFS_ERROR_IO;
                }
                p += n;
                offset += (sqfs_u64) n;
                size -= (size_t) n;
        }
        return 0;
}

static int file_write_at(sqfs_file_t *base, sqfs_u64 offset, const void *buffer, size_t size) {
        SquashfsFile *f = (SquashfsFile *) base;
        const char *p = buffer;

        while (size > 0) {
                ssize_t n = pwrite(f->fd, p, size, (off_t) offset);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        f->error = negative_errno();
                        return SQFS_ERROR_IO;
                }
                p += n;
                offset += (sqfs_u64) n;
                size -= (size_t) n;
        }
        f->size = MAX2(f->size, offset);
        return 0;
}

static sqfs_u64 file_get_size(const sqfs_file_t *base) {
        return ((const SquashfsFile *) base)->size;
}

static int file_truncate(sqfs_file_t *base, sqfs_u64 size) {
        SquashfsFile *f = (SquashfsFile *) base;

        if (ftruncate(f->fd, (off_t) size) < 0) {
                f->error = negative_errno();
                return SQFS_ERROR_IO;
        }
        f->size = size;
        return 0;
}

/* Both are parts of what has them. */
static void file_destroy(sqfs_object_t *base) {
}

void squashfs_file_init(SquashfsFile *f, int fd) {
        *f = (SquashfsFile) {
                .base = {
                        .base.destroy = file_destroy,
                        .read_at = file_read_at,
                        .write_at = file_write_at,
                        .get_size = file_get_size,
                        .truncate = file_truncate,
                },
                .fd = fd,
        };
}

int squashfs_file_append(SquashfsFile *f, const void *p, size_t n) {
        return file_write_at(&f->base, f->size, p, n);
}

int squashfs_file_truncate(SquashfsFile *f, uint64_t size) {
        return file_truncate(&f->base, size);
}

#define CHUNK_SIZE (64u * 1024u)

typedef struct MemoryChunk {
        TAILQ_ENTRY(MemoryChunk) next;
        size_t used;
        uint8_t data[CHUNK_SIZE];
} MemoryChunk;

static MemoryChunk *chunk_with_room(SquashfsMemory *m) {
        MemoryChunk *c = TAILQ_LAST(&m->chunks, MemoryChunks);

        if (c && c->used < CHUNK_SIZE)
                return c;
        c = malloc(sizeof(MemoryChunk));
        if (!c)
                return NULL;
        c->used = 0;
        TAILQ_INSERT_TAIL(&m->chunks, c, next);
        return c;
}

static int memory_write_at(sqfs_file_t *base, sqfs_u64 offset, const void *buffer, size_t size) {
        SquashfsMemory *m = (SquashfsMemory *) base;
        const uint8_t *p = buffer;

        if (offset != m->size)
                return SQFS_ERROR_UNSUPPORTED;
        while (size > 0) {
                MemoryChunk *c = chunk_with_room(m);
                size_t n;

                if (!c)
                        return SQFS_ERROR_ALLOC;
                n = MIN2(size, CHUNK_SIZE - c->used);
                memcpy(c->data + c->used, p, n);
                c->used += n;
                p += n;
                size -= n;
                m->size += n;
        }
        return 0;
}

static int memory_read_at(sqfs_file_t *base, sqfs_u64 offset, void *buffer, size_t size) {
        return SQFS_ERROR_UNSUPPORTED;
}

static sqfs_u64 memory_get_size(const sqfs_file_t *base) {
        return ((const SquashfsMemory *) base)->size;
}

static int memory_truncate(sqfs_file_t *base, sqfs_u64 size) {
        return SQFS_ERROR_UNSUPPORTED;
}

void squashfs_memory_init(SquashfsMemory *m) {
        *m = (SquashfsMemory) {
                .base = {
                        .base.destroy = file_destroy,
                        .read_at = memory_read_at,
                        .write_at = memory_write_at,
                        .get_size = memory_get_size,
                        .truncate = memory_truncate,
                },
        };
        TAILQ_INIT(&m->chunks);
}

static void drop_first(SquashfsMemory *m) {
        MemoryChunk *c = TAILQ_FIRST(&m->chunks);

        TAILQ_REMOVE(&m->chunks, c, next);
        m->size -= c->used;
        free(c);
}

void squashfs_memory_done(SquashfsMemory *m) {
        while (!TAILQ_EMPTY(&m->chunks))
                drop_first(m);
}

int squashfs_memory_move(SquashfsMemory *m, SquashfsFile *file) {
        int r = 0;

        for (; !r && !TAILQ_EMPTY(&m->chunks); drop_first(m)) {
                const MemoryChunk *c = TAILQ_FIRST(&m->chunks);

                r = squashfs_file_append(file, c->data, c->used);
        }
        return r;
}
