/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An image in an archive of images, as it is to be converted: what the JSON documents in the archive say of it. The archive is
 * read in place; nothing of it is believed but what digests confirm. */

#include "basic/macro.h"
#include "imaged/convert.h"
#include "imaged/oci-manifest.h"
#include "imaged/worker-protocol.h"

typedef struct ArchiveEntry {
        uint64_t offset, size;
        char *name;
} ArchiveEntry;

typedef struct ArchiveIndex {
        ArchiveEntry *entries;
        size_t n, n_allocated;
} ArchiveIndex;

void archive_index_done(ArchiveIndex *x);
int archive_index_add(ArchiveIndex *x, const WorkerLine *line);

typedef struct ArchiveImage {
        char digest[DIGEST_LENGTH + 1]; /* of the manifest; of the configuration, where there is none ("docker save") */
        ImageConfig config;
        LayerBlob *layers; /* their digests are in these two: */
        OciManifest manifest;
        size_t n_layers;
        uint64_t size; /* of the layers together */
} ArchiveImage;

void archive_image_done(ArchiveImage *i);

/* fd is the archive. tag: of several images, the one of this tag. -ENODATA: the archive holds no images; -ENOENT, -EBADMSG, -E2BIG
 * with a sentence. */
int archive_image_read(int fd, const ArchiveIndex *x, const char *tag, const char *platform, ArchiveImage *ret,
                char **ret_why);
