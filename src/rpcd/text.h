/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Bytes of guests on their way into JSON strings. Pure. */

#include <jansson.h>

#include "basic/macro.h"

/* What is not UTF-8 becomes U+FFFD, one for each byte that is not. NULL without memory; not NUL-terminated. */
char *text_replace_invalid(const char *p, size_t n, size_t *ret_size);

/* Where the last lines of p[0..n) begin; a last line without a line feed is one. lines 0: n. */
size_t text_tail(const char *p, size_t n, uint64_t lines);

/* How many of n bytes are left without the beginning of a sequence that was cut off at their end … */
size_t text_complete(const char *p, size_t n);
/* … and how many at their beginning are the rest of one. */
size_t text_broken_head(const char *p, size_t n);

/* RFC 4648, with padding; NUL-terminated. NULL without memory. */
char *base64_encode(const void *p, size_t n);

/* Sets key to p[0..n), or key_base64 to it in base 64 where it is not UTF-8. 0 or -ENOMEM. */
int json_set_bytes(json_t *object, const char *key, const char *p, size_t n);
