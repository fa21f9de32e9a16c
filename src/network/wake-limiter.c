/* SPDX-License-Identifier: Apache-2.0 */

/* Token buckets, each as the one time at which it will be full again. */

#include "network/wake-limiter.h"

#include <sys/queue.h>
#include <uthash.h>

#include "basic/alloc-util.h"

typedef struct Source {
        struct in6_addr key;
        uint64_t full;              /* when its bucket is full */
        TAILQ_ENTRY(Source) by_use; /* the longest unused first */
        UT_hash_handle hh;
} Source;

struct WakeLimiter {
        WakeRate per_source, total;
        uint64_t full;
        unsigned sources_max;
        Source *sources;
        TAILQ_HEAD(, Source) by_use;
};

int wake_limiter_new(WakeRate per_source, WakeRate total, unsigned sources_max, WakeLimiter **ret) {
        WakeLimiter *l;

        if (per_source.burst == 0 || total.burst == 0 || sources_max == 0)
                return -EINVAL;
        l = new0(WakeLimiter, 1);
        if (!l)
                return -ENOMEM;
        l->per_source = per_source;
        l->total = total;
        l->sources_max = sources_max;
        TAILQ_INIT(&l->by_use);
        *ret = l;
        return 0;
}

static void forget(WakeLimiter *l, Source *s) {
        HASH_DEL(l->sources, s);
        TAILQ_REMOVE(&l->by_use, s, by_use);
        free(s);
}

WakeLimiter *wake_limiter_free(WakeLimiter *l) {
        if (!l)
                return NULL;
        while (!TAILQ_EMPTY(&l->by_use))
                forget(l, TAILQ_FIRST(&l->by_use));
        return mfree(l);
}

static Source *find(WakeLimiter *l, const struct in6_addr *address, bool exact) {
        struct in6_addr key = *address;
        Source *s;

        if (!exact && !IN6_IS_ADDR_V4MAPPED(&key))
                memset(key.s6_addr + 8, 0, 8);
        HASH_FIND(hh, l->sources, &key, sizeof(key), s);
        if (s) {
                TAILQ_REMOVE(&l->by_use, s, by_use);
                TAILQ_INSERT_TAIL(&l->by_use, s, by_use);
                return s;
        }
        if (HASH_COUNT(l->sources) >= l->sources_max)
                forget(l, TAILQ_FIRST(&l->by_use));
        s = new0(Source, 1);
        if (!s)
                return NULL;
        s->key = key;
        HASH_ADD(hh, l->sources, key, sizeof(s->key), s);
        TAILQ_INSERT_TAIL(&l->by_use, s, by_use);
        return s;
}

static bool has_token(const WakeRate *r, uint64_t full, uint64_t now) {
        return full <= now || full - now <= (r->burst - 1) * r->interval;
}

static uint64_t without_token(const WakeRate *r, uint64_t full, uint64_t now) {
        return MAX2(full, now) + r->interval;
}

bool wake_limiter_take(WakeLimiter *l, const struct in6_addr *source, bool exact, uint64_t now) {
        Source *s;

        if (!has_token(&l->total, l->full, now))
                return false;
        s = find(l, source, exact);
        if (!s || !has_token(&l->per_source, s->full, now))
                return false;
        l->full = without_token(&l->total, l->full, now);
        s->full = without_token(&l->per_source, s->full, now);
        return true;
}
