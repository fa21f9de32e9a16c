/* SPDX-License-Identifier: Apache-2.0 */

/* events.tail: transitions that hero-computed remembers, or the next one. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/event-filter.h"
#include "rpcd/guests.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define LIMIT_DEFAULT 100
/* hero-computed keeps 4096 of them and tells 1000 at a time. */
#define PAGES_MAX 64u

typedef struct TailCall {
        WaitingCall waiting; /* first */
        FeedListener listener;
        sd_bus_slot *slot;
        sd_event_source *timer;
        char *vm; /* name; NULL: all, or the own one, of which there is none yet */
        EventFilter filter;
        uint64_t lost;
        unsigned n_pages;
        bool complete; /* all that is remembered was read: now what comes counts */
} TailCall;

static int ask(TailCall *t);

static void tail_call_free(WaitingCall *w) {
        TailCall *t = (TailCall *) w;

        waiting_end(w);
        feed_remove(w->call->rpcd->guests->feed, &t->listener);
        sd_bus_slot_unref(t->slot);
        sd_event_source_disable_unref(t->timer);
        event_filter_done(&t->filter);
        free(t->vm);
        free(t);
}

static void answer(TailCall *t) {
        json_t *events = event_filter_take(&t->filter), *j = NULL;

        if (events)
                j = json_pack("{s:o, s:I, s:I}", "events", events, "next", (json_int_t) t->filter.next, "lost",
                              (json_int_t) t->lost);
        call_result(waiting_take(&t->waiting), j);
}

static const char *vm_id_of(TailCall *t, const char *name) {
        _cleanup_free_ char *path = NULL;
        const ReplicaVm *vm;

        if (sd_bus_path_encode(COMPUTE_VM_PREFIX, name, &path) < 0)
                return NULL;
        vm = replica_find_path(t->waiting.call->rpcd->replica, path);
        return vm ? vm->id : NULL;
}

static int add(TailCall *t, const Transition *e) {
        return event_filter_add(&t->filter, e, vm_id_of(t, e->vm));
}

static int take_page(TailCall *t, sd_bus_message *reply, bool *ret_more) {
        uint64_t next, lost;
        unsigned n = 0;
        Transition e;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "(ttssss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(ttssss)", &e.sequence, &e.timestamp, &e.vm, &e.from, &e.to, &e.reason)) > 0) {
                r = add(t, &e);
                if (r < 0)
                        return r;
                n++;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "tt", &next, &lost);
        if (r < 0)
                return r;
        t->lost += lost;
        if (event_filter_is_full(&t->filter))
                return 0;
        *ret_more = n > 0 && next <= t->filter.next && t->n_pages < PAGES_MAX;
        if (!*ret_more) /* also back to the beginning, after a restart without memory */
                t->filter.next = next;
        return 0;
}

static int on_page(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        TailCall *t = userdata;
        bool more = false;
        int r;

        t->slot = sd_bus_slot_unref(t->slot);
        if (e) {
                call_bus_error(waiting_take(&t->waiting), e);
                return 0;
        }
        r = take_page(t, reply, &more);
        if (r >= 0 && more) {
                r = ask(t);
                if (r >= 0)
                        return 0;
        }
        t->complete = true;
        if (r < 0)
                call_errno(waiting_take(&t->waiting), r);
        else if (t->filter.n > 0 || !t->timer)
                answer(t);
        return 0;
}

static int ask(TailCall *t) {
        t->n_pages++;
        return bus_call_async(t->waiting.call->rpcd->bus, &t->slot, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE,
                              "EventsSince", on_page, t, "ts", t->filter.next, strempty(t->vm));
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        answer(userdata); /* also when hero-computed has not answered: nothing happened that we know of */
        return 0;
}

static bool is_meant(TailCall *t, const Transition *e) {
        Call *c = t->waiting.call;
        const ReplicaVm *own;

        if (t->vm)
                return streq(t->vm, e->vm);
        if (c->caller->admin)
                return true;
        own = isempty(c->caller->user) ? NULL : replica_find_user(c->rpcd->replica, c->caller->user);
        return own && streq_ptr(own->name, e->vm);
}

/* Who waits is answered by the first; its next says where the others begin. */
static void on_transition(const Transition *e, void *userdata) {
        TailCall *t = userdata;
        int r;

        if (!t->complete || e->sequence <= t->filter.next || !is_meant(t, e))
                return;
        r = add(t, e);
        if (r < 0)
                call_errno(waiting_take(&t->waiting), r);
        else
                answer(t);
}

/* 0: the call is answered. */
static int take_vm(TailCall *t) {
        Call *c = t->waiting.call;
        const char *wanted = call_string(c, "vm_id");
        const ReplicaVm *vm;

        if (wanted)
                vm = replica_find(c->rpcd->replica, wanted);
        else if (c->caller->admin)
                return 1;
        else
                vm = isempty(c->caller->user) ? NULL : replica_find_user(c->rpcd->replica, c->caller->user);
        if (!vm && wanted && c->caller->admin) {
                call_refuse(waiting_take(&t->waiting), ERROR_NO_SUCH_VM, "There is no VM '%s'.", wanted);
                return 0;
        }
        if (wanted && (!vm || !caller_may_vm(c->caller, vm))) {
                call_refuse(waiting_take(&t->waiting), SD_BUS_ERROR_ACCESS_DENIED, "VM '%s' is not yours.", wanted);
                return 0;
        }
        if (!vm) /* he may be about to get one */
                return 1;
        t->vm = strdup(vm->name);
        return t->vm ? 1 : -ENOMEM;
}

static int begin(TailCall *t) {
        Call *c = t->waiting.call;
        uint64_t timeout = (uint64_t) call_integer(c, "timeout_secs", 0) * USEC_PER_SEC;
        int r;

        r = take_vm(t);
        if (r <= 0)
                return r;
        if (timeout > 0) {
                r = sd_event_add_time_relative(c->rpcd->event, &t->timer, CLOCK_MONOTONIC, timeout, 0, on_timeout, t);
                if (r < 0)
                        return r;
        }
        if (t->vm || c->caller->admin)
                return ask(t);
        t->complete = true;
        if (timeout == 0)
                answer(t);
        return 0;
}

/* events.tail (ACCESS_KNOWN): "Transitions of VMs, oldest first; of the own VM only, for who is no administrator"
 *   since         integer (0 … 2^53): "Only those with a higher sequence number (default: the last ones)"
 *   vm_id         string: "Of this VM only"
 *   limit         integer (1 … 1000): "At most so many (100)"
 *   timeout_secs  integer (0 … 60): "Where there is none, wait so many seconds for one (0)"
 * → Events { events: [{ sequence: integer, timestamp: string, vm_id: string|null, vm_name, from, to, reason: strings }],
 *            next: integer, lost: integer }
 * next is what to pass as since the next time; lost says how many after since are no longer known. from and to are detail states.
 * vm_id is null where the VM is gone. */
void method_events_tail(Call *c) {
        json_t *since = call_value(c, "since");
        TailCall *t;
        int r;

        t = new0(TailCall, 1);
        if (!t) {
                call_errno(c, -ENOMEM);
                return;
        }
        if (!waiting_begin(&t->waiting, WAITING_EVENTS, c, tail_call_free)) {
                free(t);
                return;
        }
        event_filter_init(&t->filter, (unsigned) call_integer(c, "limit", LIMIT_DEFAULT), json_is_integer(since),
                          (uint64_t) call_integer(c, "since", 0));
        t->listener = (FeedListener){ .transition = on_transition, .userdata = t };
        feed_add(c->rpcd->guests->feed, &t->listener);
        r = begin(t);
        if (r < 0)
                call_errno(waiting_take(&t->waiting), r);
}
