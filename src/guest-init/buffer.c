/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/buffer.h"

#define KEEP_MAX (64u * 1024u)

void buffer_done(Buffer *b) {
        free(b->p);
        *b = (Buffer) {};
}

uint8_t *buffer_reserve(Buffer *b, size_t n) {
        size_t size = buffer_size(b), need, a;
        uint8_t *q;

        if (b->allocated - b->end >= n)
                return b->p + b->end;

        if (b->begin > 0) {
                memmove(b->p, b->p + b->begin, size);
                b->begin = 0;
                b->end = size;
                if (b->allocated - b->end >= n)
                        return b->p + b->end;
        }

        if (__builtin_add_overflow(size, n, &need))
                return NULL;
        a = MAX2(b->allocated, (size_t) 4096);
        while (a < need)
                if (__builtin_mul_overflow(a, 2, &a))
                        return NULL;
        q = realloc(b->p, a);
        if (!q)
                return NULL;
        b->p = q;
        b->allocated = a;
        return b->p + b->end;
}

void buffer_commit(Buffer *b, size_t n) {
        assert(b->allocated - b->end >= n);
        b->end += n;
}

int buffer_append(Buffer *b, const void *p, size_t n) {
        uint8_t *q;

        if (n == 0)
                return 0;
        q = buffer_reserve(b, n);
        if (!q)
                return -ENOMEM;
        memcpy(q, p, n);
        b->end += n;
        return 0;
}

void buffer_consume(Buffer *b, size_t n) {
        assert(buffer_size(b) >= n);
        b->begin += n;
        if (b->begin < b->end)
                return;

        if (b->allocated > KEEP_MAX)
                buffer_done(b);
        else
                b->begin = b->end = 0;
}
