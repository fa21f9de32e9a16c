/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is known of an image besides its content: one JSON document in the store, by the image's digest. Pure. */

#include "basic/macro.h"
#include "imaged/oci-manifest.h"
#include "imaged/reference.h"

#define RECORD_SOURCE_MAX 64u
#define RECORD_FILE_MAX (4u * 1024u * 1024u)

typedef struct ImageRecord {
        char digest[DIGEST_LENGTH + 1];  /* of the image: of its manifest, or where it has none of its content */
        char content[DIGEST_LENGTH + 1]; /* of the SquashFS file; several images may have the same */
        uint64_t size;                   /* of that file */
        uint32_t entries, layers;
        uint64_t created, pulled, last_used; /* CLOCK_REALTIME; created 0: not known */
        char source[RECORD_SOURCE_MAX + 1];  /* what a built-in image was made from; "" else */
        bool has_config;                     /* there is one: not of root file systems */
        ImageConfig config;                  /* its created and diff_ids are not kept */
} ImageRecord;

void image_record_done(ImageRecord *r);

/* The document without digest, which is the file's name. NULL: out of memory. */
char *image_record_format(const ImageRecord *r);

/* -EUCLEAN: not a record. ret->digest is copied from digest. */
int image_record_parse(const char *text, size_t n, const char *digest, ImageRecord *ret);
