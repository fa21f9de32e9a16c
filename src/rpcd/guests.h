/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Calls that wait for a guest or for something to happen: each has a place here from its beginning to its answer, so that they
 * are bounded, and answered when hero-rpcd ends before they do. */

#include <sys/queue.h>

#include "rpcd/call.h"
#include "rpcd/console-endpoint.h"
#include "rpcd/feed.h"
#include "rpcd/image-jobs.h"
#include "rpcd/methods.h"

typedef struct WaitingCall WaitingCall;

typedef enum WaitingKind {
        WAITING_EXEC,
        WAITING_LOGS,
        WAITING_STATE,
        WAITING_EVENTS,
        WAITING_RESOURCES,
        _WAITING_KIND_MAX,
} WaitingKind;

/* The beginning of what a handler keeps for its call. */
struct WaitingCall {
        TAILQ_ENTRY(WaitingCall) calls;
        WaitingKind kind;
        Call *call;
        void (*free)(WaitingCall *w); /* of everything but call; takes it out of the list by waiting_end() */
};

struct Guests {
        Rpcd *d;
        Feed *feed;
        Consoles *consoles;
        ImageJobs *image_jobs;
        TAILQ_HEAD(, WaitingCall) waiting;
        unsigned n_waiting[_WAITING_KIND_MAX];
};

int guests_new(Rpcd *d, Guests **ret);
Guests *guests_free(Guests *g); /* answers the calls that are still under way */
DEFINE_TRIVIAL_CLEANUP_FUNC(Guests *, guests_free);

/* hero-rpcd is about to end: who waits for what may never happen is told, commands go on until guests_free(). */
void guests_stop(Guests *g);

/* false: there are too many of the kind in all, of the call's VM or of its caller; the call is answered. */
bool waiting_begin(WaitingCall *w, WaitingKind kind, Call *c, void (*free_func)(WaitingCall *w));
void waiting_end(WaitingCall *w);

/* Frees w by its function and gives its call back, to be answered. */
Call *waiting_take(WaitingCall *w);
