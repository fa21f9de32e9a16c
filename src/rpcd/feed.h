/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hero-computed tells of its VMs, for calls that wait for it: one set of matches, any number of listeners. A waiting call
 * so costs none of the replies that the bus allows to be pending. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct Feed Feed;
typedef struct FeedListener FeedListener;

typedef struct Transition {
        uint64_t sequence, timestamp; /* CLOCK_REALTIME */
        const char *vm, *from, *to, *reason;
} Transition;

/* Embedded in whoever listens. Any of the functions may be NULL, and may remove its own listener, or add others. */
struct FeedListener {
        TAILQ_ENTRY(FeedListener) listeners;
        void (*transition)(const Transition *t, void *userdata);
        void (*changed)(const char *vm_path, void *userdata); /* a property of it; the replica may hear of it after you */
        void (*removed)(const char *vm_path, void *userdata);
        void (*returned)(void *userdata);                     /* another hero-computed is there: anything may have happened */
        void *userdata;
};

/* The first listener must be added before what it is to follow is asked for: calls sent later are answered after the matches are
 * in place. */
int feed_new(sd_bus *bus, Feed **ret);
Feed *feed_free(Feed *f); /* listeners are left alone */
DEFINE_TRIVIAL_CLEANUP_FUNC(Feed *, feed_free);

void feed_add(Feed *f, FeedListener *l);
void feed_remove(Feed *f, FeedListener *l);
