/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SHA-256 by libgcrypt, in digests as images write them. */

#include "basic/macro.h"

#define SHA256_HEX_LENGTH 64u

typedef struct Sha256 Sha256;

/* Before a sandbox is entered: the library looks at the system when it is first used. */
int sha256_init(void);

int sha256_new(Sha256 **ret);
Sha256 *sha256_free(Sha256 *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Sha256 *, sha256_free);

void sha256_write(Sha256 *s, const void *p, size_t n);

/* 64 lower-case hexadecimal digits of all that was written. */
void sha256_read(Sha256 *s, char hex[static SHA256_HEX_LENGTH + 1]);
