/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A thread that takes checksums of what another one reads: with two digests for each layer they are as much
 * work as undoing the compression. */

#include "imaged/sha256.h"

typedef struct Hasher Hasher;

/* Starts the thread. */
int hasher_new(Hasher **ret);
Hasher *hasher_free(Hasher *h);
DEFINE_TRIVIAL_CLEANUP_FUNC(Hasher *, hasher_free);

/* As sha256_write(), later; the bytes are copied. */
void hasher_write(Hasher *h, Sha256 *s, const void *p, size_t n);

/* Waits until all is written. Before sha256_read() or sha256_free() of one that was given. */
void hasher_sync(Hasher *h);
