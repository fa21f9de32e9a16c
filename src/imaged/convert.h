/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The last part of a pull and of an import of an archive of images: layers become a content, and that with its configuration
 * an image in the catalog, tagged. Owned by the pull or import. */

#include "imaged/imaged.h"

typedef struct Conversion Conversion;

typedef struct LayerBlob {
        int fd; /* a regular file; several may be in the same */
        uint64_t offset, size;
        const char *digest;  /* of these bytes; NULL: not known */
        const char *diff_id; /* of the tar in them */
} LayerBlob;

/* Ends the job with an image that is here already. */
void job_done_with(Job *j, Image *image);

/* The job has ended when this returns (done, or failed with BadImage, LimitExceeded, …), and with it the conversion.
 * Takes the configuration over, also on failure. Steps are set by it. */
int conversion_start(Job *job, const char *digest, ImageConfig *config, const LayerBlob *layers, size_t n_layers,
                Conversion **ret);
Conversion *conversion_free(Conversion *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Conversion *, conversion_free);
