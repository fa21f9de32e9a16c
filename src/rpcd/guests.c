/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/guests.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/call-util.h"
#include "shared/error-names.h"

/* How many may wait: in all, for one VM, and of one caller who is no administrator. */
static const struct {
        const char *what;
        unsigned all, vm, caller;
} limits[_WAITING_KIND_MAX] = {
        [WAITING_EXEC] = { "commands run", 64, 8, 8 },
        [WAITING_LOGS] = { "logs are read", 64, 8, 8 },
        [WAITING_STATE] = { "calls wait for a state", 1024, 16, 16 },
        [WAITING_EVENTS] = { "calls wait for events", 256, 256, 16 },
        [WAITING_RESOURCES] = { "resources are changed", 64, 8, 8 },
};

static bool waiting_is_allowed(const Guests *g, WaitingKind kind, Call *c) {
        unsigned vm = 0, caller = 0;
        const WaitingCall *w;

        TAILQ_FOREACH(w, &g->waiting, calls)
                if (w->kind == kind) {
                        vm += c->vm_path && streq_ptr(w->call->vm_path, c->vm_path);
                        caller += !c->caller->admin && caller_is_same(w->call->caller, c->caller);
                }
        if (g->n_waiting[kind] >= limits[kind].all)
                call_refuse(c, ERROR_LIMIT_EXCEEDED, "%u %s already.", g->n_waiting[kind], limits[kind].what);
        else if (vm >= limits[kind].vm)
                call_refuse(c, ERROR_LIMIT_EXCEEDED, "%u %s already for VM '%s'.", vm, limits[kind].what, strna(c->vm_name));
        else if (caller >= limits[kind].caller)
                call_refuse(c, ERROR_LIMIT_EXCEEDED, "%u %s already for this user.", caller, limits[kind].what);
        else
                return true;
        return false;
}

bool waiting_begin(WaitingCall *w, WaitingKind kind, Call *c, void (*free_func)(WaitingCall *w)) {
        Guests *g = c->rpcd->guests;

        if (!waiting_is_allowed(g, kind, c))
                return false;
        w->kind = kind;
        w->call = c;
        w->free = free_func;
        TAILQ_INSERT_TAIL(&g->waiting, w, calls);
        g->n_waiting[kind]++;
        return true;
}

void waiting_end(WaitingCall *w) {
        Guests *g = w->call->rpcd->guests;

        TAILQ_REMOVE(&g->waiting, w, calls);
        g->n_waiting[w->kind]--;
}

Call *waiting_take(WaitingCall *w) {
        Call *c = w->call;

        w->free(w);
        return c;
}

int guests_new(Rpcd *d, Guests **ret) {
        _cleanup_(guests_freep) Guests *g = NULL;
        int r;

        g = new0(Guests, 1);
        if (!g)
                return -ENOMEM;
        g->d = d;
        TAILQ_INIT(&g->waiting);
        r = feed_new(d->bus, &g->feed);
        if (r >= 0)
                r = consoles_new(d, g->feed, &g->consoles);
        if (r >= 0)
                r = image_jobs_new(d, &g->image_jobs);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(g);
        return 0;
}

static void cancel(WaitingCall *w) {
        call_refuse(waiting_take(w), ERROR_CANCELED, "hero-rpcd ends.");
}

void guests_stop(Guests *g) {
        WaitingCall *w, *next;

        for (w = TAILQ_FIRST(&g->waiting); w; w = next) {
                next = TAILQ_NEXT(w, calls);
                if (w->kind == WAITING_STATE || w->kind == WAITING_EVENTS)
                        cancel(w);
        }
}

Guests *guests_free(Guests *g) {
        if (!g)
                return NULL;
        while (!TAILQ_EMPTY(&g->waiting))
                cancel(TAILQ_FIRST(&g->waiting));
        image_jobs_free(g->image_jobs);
        consoles_free(g->consoles);
        feed_free(g->feed);
        return mfree(g);
}
