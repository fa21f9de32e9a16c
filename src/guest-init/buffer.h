/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A queue of bytes in one piece of memory: room at its end, bytes taken from its front. Whoever owns it bounds
 * what goes in. */

#include "basic/macro.h"

typedef struct Buffer {
        uint8_t *p;
        size_t begin, end, allocated;
} Buffer;

void buffer_done(Buffer *b);

static inline size_t buffer_size(const Buffer *b) {
        return b->end - b->begin;
}
static inline const uint8_t *buffer_front(const Buffer *b) {
        return b->p + b->begin;
}

/* n writable bytes behind the last one, or NULL on ENOMEM; buffer_commit() makes the first of them part of it. */
uint8_t *buffer_reserve(Buffer *b, size_t n);
void buffer_commit(Buffer *b, size_t n);
int buffer_append(Buffer *b, const void *p, size_t n);
/* Drops n bytes at the front. A large empty buffer gives its memory back. */
void buffer_consume(Buffer *b, size_t n);
