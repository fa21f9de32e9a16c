/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What images are called: [REGISTRY[:PORT]/]PATH[:TAG][@sha256:HEX], or sha256:HEX alone.
 *
 *   REGISTRY  a first part with a "." or ":" in it, or "localhost": labels of letters, digits and inner "-"
 *   PATH      words of [a-z0-9]+ with ".", "_", "__", or "-"s between them; words separated by "/"
 *   TAG       [A-Za-z0-9_][A-Za-z0-9._-]{0,127}; "latest" where neither tag nor digest is given
 *   HEX       64 of [0-9a-f]
 *
 * PATH alone is not "sha256" (a digest with a typing error is not an image of that name). The whole is at most
 * REFERENCE_MAX bytes, so that it can be the name of a file. Pure. */

#include "basic/macro.h"

#define REFERENCE_TAG_MAX 128u
#define REFERENCE_MAX 250u /* without terminator */
#define REFERENCE_LOCATION_MAX (REFERENCE_MAX + sizeof("docker.io/library/") - 1)
#define DIGEST_PREFIX "sha256:"
#define DIGEST_HEX_LENGTH 64u
#define DIGEST_LENGTH (sizeof(DIGEST_PREFIX) - 1 + DIGEST_HEX_LENGTH)
#define DIGEST_ABBREVIATED_MIN 6u

/* "sha256:" and 64 hexadecimal digits. */
bool digest_is_valid(const char *s);

/* Is s the beginning of a digest, DIGEST_ABBREVIATED_MIN or more digits with or without "sha256:"? Returns the digits. */
const char *digest_abbreviated(const char *s);

/* Writes the reference with its tag, or the digest, into buf. 0: a name, 1: a digest alone, -EINVAL: neither. */
int reference_normalize(const char *s, char buf[static REFERENCE_MAX + 1]);

/* Of a normalized reference: the digest after "@", or NULL; the tag (not terminated where a digest follows), or NULL. */
const char *reference_digest(const char *reference);
const char *reference_tag(const char *reference, size_t *ret_length);

/* Where a normalized reference with a name is in a registry, as skopeo wants it behind "docker://": with docker.io and
 * library/ where they are left out, without the tag where there is a digest. digest (may be NULL) takes the place of both. */
void reference_location(const char *reference, const char *digest, char buf[static REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2]);

/* A normalized reference with a name as the name of a file and back ("/" is "+", ":" is "="). -EINVAL: not the name of
 * one. */
void reference_to_filename(const char *reference, char buf[static REFERENCE_MAX + 1]);
int reference_from_filename(const char *filename, char buf[static REFERENCE_MAX + 1]);
