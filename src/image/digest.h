/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SHA-256, as names of files in the cache need it. */

#include "basic/macro.h"

/* The beginning of the digest of p[0..n) as size - 1 hex digits (at most 64) and a NUL. */
int digest_hex(const void *p, size_t n, char *ret, size_t size);
