/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A tar as it comes out of a file or a pipe: plain or compressed (gzip, bzip2, xz, zstd, lz4), with the
 * checksums of what is read and of what comes out of it. Two readers of libarchive are chained: the inner
 * one undoes the compression, the outer one reads the tar. So the bytes in between can be seen: whether the
 * archive came to its end or was cut short on the way, which a tar reader alone does not tell, and the end
 * of the compressed stream with its checksum, which a tar reader does not go to. */

#include <archive.h>

#include "basic/macro.h"
#include "imaged/hasher.h"

typedef struct TarInput {
        int fd;
        bool window; /* a part of a regular file, read without moving the fd; else all that read() gives */
        uint64_t offset, size;
        const char *digest;  /* "sha256:…" of what is read, or NULL; only with a window */
        const char *diff_id; /* "sha256:…" of the tar, or NULL */
        Hasher *hasher;      /* for both, or NULL: they are taken at once */
        uint64_t *budget;    /* bytes that tars may still have, whatever is done with them; NULL: any number */
} TarInput;

typedef struct TarStream TarStream;

/* bytes: read so far. Called often. */
typedef void (*tar_stream_progress_t)(uint64_t bytes, void *userdata);

/* input stays the caller's and must stay where it is. */
int tar_stream_open(const TarInput *input, tar_stream_progress_t progress, void *userdata, TarStream **ret,
                char **ret_why);
TarStream *tar_stream_free(TarStream *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(TarStream *, tar_stream_free);

/* The outer reader: archive_read_next_header() and so on. NULL: there is not a byte in it, which is also a
 * layer. */
struct archive *tar_stream_archive(TarStream *s);

/* After one of its functions failed: the error, with a sentence. */
int tar_stream_error(TarStream *s, char **ret_why);

/* After ARCHIVE_EOF: reads all that is left, and checks that this was the archive and all of it. -EBADMSG
 * with a sentence: it was not. */
int tar_stream_finish(TarStream *s, char **ret_why);
