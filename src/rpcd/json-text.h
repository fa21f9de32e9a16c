/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Writes JSON as text, piece by piece: for answers that are mostly the same bytes each time. A failure sticks: looked at once, at the
 * end. */

#include "basic/macro.h"

typedef struct JsonText {
        char *p;
        size_t n, allocated;
        bool failed;
} JsonText;

void json_text_add(JsonText *t, const char *s, size_t n); /* as it is */
void json_text_raw(JsonText *t, const char *s);
void json_text_string(JsonText *t, const char *s);        /* quoted and escaped; NULL: null. s is valid UTF-8 */
void json_text_unsigned(JsonText *t, uint64_t v);
void json_text_integer(JsonText *t, int64_t v);
void json_text_time(JsonText *t, uint64_t realtime_usec); /* "2025-01-15T10:30:00Z"; 0: null */

/* ,"key": , without the comma behind a { or [ */
void json_text_key(JsonText *t, const char *key);

/* The text, NUL-terminated, which is then the caller's; NULL: no memory. */
char *json_text_take(JsonText *t, size_t *ret_size);
void json_text_done(JsonText *t);
