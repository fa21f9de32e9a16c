/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/event-log.h"

#include "basic/alloc-util.h"
#include "basic/time-util.h"

Event *event_new(uint64_t sequence, const char *vm, VmState from, VmState to, const char *reason) {
        size_t n = strlen(reason) + 1, l = strlen(vm) + 1;
        Event *e;

        e = malloc(sizeof(Event) + n + l);
        if (!e)
                return NULL;
        *e = (Event) {
                .n_ref = 1,
                .from = from,
                .to = to,
                .sequence = sequence,
                .timestamp = now_usec(CLOCK_REALTIME),
                .vm = e->reason + n,
        };
        memcpy(e->reason, reason, n);
        memcpy(e->reason + n, vm, l);
        return e;
}

Event *event_ref(Event *e) {
        e->n_ref++;
        return e;
}

Event *event_unref(Event *e) {
        if (e && --e->n_ref == 0)
                free(e);
        return NULL;
}

int event_ring_push(EventRing *r, Event *e) {
        if (r->n == r->max) {
                event_unref(r->events[r->first]);
                r->events[r->first] = event_ref(e);
                r->first = (r->first + 1) % r->max;
                return 0;
        }
        /* Below the bound nothing has wrapped yet, so growing is a plain realloc. */
        if (r->n == r->allocated) {
                unsigned a = MIN2(r->max, MAX2(8u, r->allocated * 2));
                Event **bigger = reallocarray(r->events, a, sizeof(Event *));

                if (!bigger)
                        return -ENOMEM;
                r->events = bigger;
                r->allocated = a;
        }
        r->events[r->n++] = event_ref(e);
        return 0;
}

Event *event_ring_get(const EventRing *r, unsigned i) {
        assert(i < r->n);
        return r->events[(r->first + i) % r->max];
}

void event_ring_done(EventRing *r) {
        for (unsigned i = 0; i < r->n; i++)
                event_unref(event_ring_get(r, i));
        free(r->events);
        *r = (EventRing) { .max = r->max };
}
