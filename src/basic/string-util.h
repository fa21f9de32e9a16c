/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "basic/macro.h"

#define streq(a, b) (strcmp((a), (b)) == 0)

static inline bool isempty(const char *s) {
        return !s || !s[0];
}
static inline const char *strempty(const char *s) {
        return s ?: "";
}
static inline bool streq_ptr(const char *a, const char *b) {
        return a && b ? streq(a, b) : a == b;
}
static inline const char *strna(const char *s) {
        return s ?: "n/a";
}

/* The rest of s behind prefix, or NULL. */
const char *startswith(const char *s, const char *prefix);

/* Replaces *p by a copy of s (NULL frees). Returns 0 or -ENOMEM; *p is untouched on failure. */
int free_and_strdup(char **p, const char *s);

/* asprintf that returns NULL on ENOMEM and never an indeterminate pointer. */
char *strprintf(const char *format, ...) _printf_(1, 2);

/* Removes white space at both ends, in place; returns a pointer into s. */
char *strstrip(char *s);

/* True when s is valid UTF-8 without control characters other than those in allow (may be NULL). */
bool utf8_is_clean(const char *s, const char *allow);

/* Makes s what utf8_is_clean() accepts, in place: what is not becomes '?'. For words of guests, VMMs and images on their way
 * to the bus, the journal or a terminal. Returns s. */
char *utf8_sanitize(char *s);

/* True when s[0..n) is valid UTF-8 (RFC 3629: no surrogates, no overlong forms) without noncharacters, which D-Bus
 * refuses. */
bool utf8_is_valid_n(const char *s, size_t n);

/* Length of the valid sequence (as above) that s[0..n) begins with, 0 when there is none. */
size_t utf8_sequence_n(const char *s, size_t n);
