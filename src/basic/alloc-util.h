/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "basic/macro.h"

#define new(t, n) ((t *) reallocarray(NULL, (n), sizeof(t)))
#define new0(t, n) ((t *) calloc((n) ?: 1, sizeof(t)))

static inline void *memdup(const void *p, size_t n) {
        void *q = malloc(n ?: 1);

        return q ? memcpy(q, p, n) : NULL;
}

static inline void freep(void *p) {
        free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline void *mfree(void *p) {
        free(p);
        return NULL;
}

/* Makes room for need elements; grows by doubling. Returns false on ENOMEM, *p is valid either way. */
static inline bool greedy_realloc(void **p, size_t *allocated, size_t need, size_t size) {
        size_t a;
        void *q;

        if (*allocated >= need)
                return true;
        if (__builtin_mul_overflow(need, 2, &a))
                return false;
        if (a < 8)
                a = 8;
        q = reallocarray(*p, a, size);
        if (!q)
                return false;
        *p = q;
        *allocated = a;
        return true;
}
#define GREEDY_REALLOC(array, allocated, need) \
        greedy_realloc((void **) &(array), &(allocated), (need), sizeof((array)[0]))
