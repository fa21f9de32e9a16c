/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What images are called: NAME[:TAG] or sha256:HEX.
 *
 *   NAME  [a-z0-9]+([._/-][a-z0-9]+)*  at most 128 bytes, and not "sha256"
 *   TAG   [A-Za-z0-9_][A-Za-z0-9._-]{0,63}  "latest" when left out
 *   HEX   64 of [0-9a-f]
 */

#include "basic/macro.h"

#define REFERENCE_NAME_MAX 128u
#define REFERENCE_TAG_MAX 64u
#define REFERENCE_MAX (REFERENCE_NAME_MAX + 1 + REFERENCE_TAG_MAX) /* without terminator */
#define DIGEST_PREFIX "sha256:"
#define DIGEST_HEX_LENGTH 64u
#define DIGEST_LENGTH (sizeof(DIGEST_PREFIX) - 1 + DIGEST_HEX_LENGTH)

/* "sha256:" and 64 hexadecimal digits. */
bool digest_is_valid(const char *s);

/* Writes "NAME:TAG" or the digest into buf. 0: a name, 1: a digest, -EINVAL: neither. */
int reference_normalize(const char *s, char buf[static REFERENCE_MAX + 1]);

/* A normalized "NAME:TAG" as the name of a file and back ("/" is "+", ":" is "@"). -EINVAL: not the name of
 * one. */
void reference_to_filename(const char *reference, char buf[static REFERENCE_MAX + 1]);
int reference_from_filename(const char *filename, char buf[static REFERENCE_MAX + 1]);
