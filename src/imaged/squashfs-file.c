/* SPDX-License-Identifier: Apache-2.0 */

/* Files for libsquashfs, see the header. Owned by a writer. */

#include "imaged/squashfs-file.h"

#include <sqfs/error.h>
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

/* The file is a part of the writer. */
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
