/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The layers of an OCI or Docker image to one tree and its contents, as one stream: nothing is unpacked, the
 * blobs are read where they lie. What comes out is what unpacking them one on top of the other as root would
 * give ("umoci unpack"): whiteouts and opaque directories take away what is below, files and directories
 * replace each other, hard links keep the contents they were made of when an upper layer replaces or removes
 * another name of it. Each blob is checked against its digest and the tar in it against its diff_id while
 * they are read: the tree means nothing until all of this has succeeded. */

#include "imaged/tar-import.h"

#define LAYERS_MAX 128u

typedef struct Layer {
        int fd;
        uint64_t offset, size;
        /* "sha256:…", "": not known */
        char digest[sizeof("sha256:") + 64], diff_id[sizeof("sha256:") + 64];
} Layer;

/* "FD:OFFSET:SIZE:HEX:HEX", "-" for a digest that is not known. -EINVAL: not that. */
int layer_parse(const char *text, Layer *ret);

/* Called after each layer. */
typedef void (*layer_done_t)(unsigned layer, void *userdata);

/* layers: the lowest first. hasher: NULL, or a thread for the checksums. Otherwise as tar_import(); progress
 * is that of all blobs together. */
int layer_merge(const Layer *layers, size_t n_layers, Hasher *hasher, const ImportLimits *limits, Tree *tree,
                SquashfsWriter *writer, import_progress_t progress, layer_done_t done, void *userdata,
                ImportResult *ret, char **ret_why);
