/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From a tar stream to a tree and its contents. Reads plain tar (ustar, pax, GNU) and gzip, bzip2, xz, zstd
 * or lz4 around it; nothing is ever unpacked to a disk. Runs in the worker, on hostile input. */

#include "basic/macro.h"
#include "imaged/image-tree.h"
#include "imaged/squashfs-writer.h"
#include "imaged/tar-stream.h"

typedef struct ImportLimits {
        uint32_t max_entries;
        uint64_t max_bytes; /* of file contents, holes included */
        bool no_images;     /* an archive of images (archive-sniff.h) is refused */
} ImportLimits;

#define IMPORT_MAX_ENTRIES_DEFAULT 1000000u
#define IMPORT_MAX_BYTES_DEFAULT (UINT64_C(64) << 30)

/* What an entry may carry of extended attributes, names and values together, and the image altogether. */
#define IMPORT_XATTRS_MAX 64u
#define IMPORT_XATTR_VALUE_MAX (64u * 1024u)
#define IMPORT_XATTR_ENTRY_MAX (128u * 1024u)
#define IMPORT_XATTR_TOTAL_MAX (64u * 1024u * 1024u)

typedef struct ImportResult {
        uint32_t n_entries;
        uint64_t n_bytes;          /* of contents */
        uint32_t n_dropped_xattrs; /* that SquashFS has no place for: system.*, that is POSIX ACLs */
} ImportResult;

/* bytes: read from the input so far. Called often. */
typedef void (*import_progress_t)(uint64_t bytes, uint32_t entries, void *userdata);

/* An import of one archive, or of several on top of each other, see layer-merge.h. */
typedef struct Import {
        const ImportLimits *limits;
        Tree *tree;
        SquashfsWriter *writer;
        import_progress_t progress;
        void *userdata;
        bool layers;             /* what begins with ".wh." is a whiteout */
        uint64_t n_bytes_before; /* of other archives, for the progress */
        uint64_t budget;         /* of the tars, see import_budget() */
        Hasher *hasher;          /* or NULL */

        /* A second reading of the same archives, for contents only: of the entry of this number in all
         * archives, or NULL. */
        TreeInode *const *wanted;
        uint32_t n_wanted;

        ImportResult result;
        uint32_t n_headers; /* also the number of an entry, kept in TreeInode.number */
        char *why;

        /* Its own. */
        TarStream *stream;
        struct archive *tar;
        uint64_t n_xattr_bytes;
        bool sniffed;
} Import;

/* What the tars of an image may have altogether, headers and what is only read past included. */
uint64_t import_budget(const ImportLimits *limits);

/* Adds an archive to the tree. Errors as below, the sentence in p->why. */
int import_stream(Import *p, const TarInput *input);

/* Reads fd to its end. The caller finishes the writer. Errors with a sentence in *ret_why: -EBADMSG the
 * archive is not usable, -EDQUOT it is larger than the limits, other -errno: input or output failed. */
int tar_import(int fd, const ImportLimits *limits, Tree *tree, SquashfsWriter *writer,
                import_progress_t progress, void *userdata, ImportResult *ret, char **ret_why);
