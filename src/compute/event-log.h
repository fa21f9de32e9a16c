/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What happened to the VMs: every transition once, numbered, held by the VM's own ring (the last 64) and by the
 * ring over all VMs that EventsSince() reads. An Event is shared by both and counted. */

#include "basic/macro.h"
#include "compute/lifecycle.h"

#define EVENT_RING_VM 64u
#define EVENT_RING_ALL 4096u

typedef struct Event {
        unsigned n_ref;
        VmState from, to;
        uint64_t sequence, timestamp; /* CLOCK_REALTIME */
        const char *vm;               /* points behind reason */
        char reason[];
} Event;

Event *event_new(uint64_t sequence, const char *vm, VmState from, VmState to, const char *reason);
Event *event_ref(Event *e);
Event *event_unref(Event *e);

/* A ring that grows to its bound by need: most VMs never have 64 transitions. */
typedef struct EventRing {
        Event **events;
        unsigned n, first, allocated, max;
} EventRing;

int event_ring_push(EventRing *r, Event *e); /* takes a reference of its own; drops the oldest at the bound */
Event *event_ring_get(const EventRing *r, unsigned i); /* 0 is the oldest; i < r->n */
void event_ring_done(EventRing *r);
