/* SPDX-License-Identifier: Apache-2.0 */

/* Deadlines: the time a phase may take is the same for all, so that each phase has a queue which is in the order of its deadlines
 * by itself. One timer is set to the first of all and moved forward only when a nearer deadline appears; it is not moved back when
 * that is met, but looks again when it fires. */

#include <malloc.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/time-util.h"
#include "rpcd/connections.h"
#include "rpcd/share.h"

/* So many connections, and it is a flood, after which libc would keep what it was given. */
#define FLOOD 256u

typedef TAILQ_HEAD(ConnectionQueue, Connection) ConnectionQueue;

struct Connections {
        sd_event *event;
        const RpcConfig *config;
        ConnectionQueue queues[_CONNECTION_PHASE_MAX];
        unsigned n, n_cut; /* those that were cut off are among n until their owner has noticed */
        unsigned n_most; /* since memory was given back the last time */
        uint64_t memory, answers;
        Shares *shares;

        sd_event_source *timer;
        uint64_t timer_at; /* USEC_INFINITY: off */

        sd_event_source *drained, *drain_timeout;
        connections_drained_t done;
        void *userdata;
        bool draining;
};

static uint64_t phase_timeout(const Connections *s, ConnectionPhase phase) {
        switch (phase) {
        case CONNECTION_FRESH:
        case CONNECTION_REQUEST:
                return s->config->request_timeout;
        case CONNECTION_ANSWER:
        case CONNECTION_IDLE:
                return s->config->idle_timeout;
        default:
                return USEC_INFINITY;
        }
}

static void set_timer(Connections *s, uint64_t at) {
        if (at >= s->timer_at)
                return;
        s->timer_at = at;
        (void) sd_event_source_set_time(s->timer, at);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void enqueue(Connection *c, ConnectionPhase phase) {
        Connections *s = c->connections;
        uint64_t now, timeout = phase_timeout(s, phase);

        c->phase = phase;
        s->n_cut += phase == CONNECTION_CUT;
        c->share->n_cut += phase == CONNECTION_CUT;
        c->deadline = USEC_INFINITY;
        if (timeout != USEC_INFINITY && sd_event_now(s->event, CLOCK_MONOTONIC, &now) >= 0 &&
            !__builtin_add_overflow(now, timeout, &c->deadline))
                set_timer(s, c->deadline);
        TAILQ_INSERT_TAIL(&s->queues[phase], c, entries);
}

static void dequeue(Connection *c) {
        Connections *s = c->connections;

        TAILQ_REMOVE(&s->queues[c->phase], c, entries);
        s->n_cut -= c->phase == CONNECTION_CUT;
        c->share->n_cut -= c->phase == CONNECTION_CUT;
}

static void cut_off(Connection *c) {
        dequeue(c);
        enqueue(c, CONNECTION_CUT);
        (void) shutdown(c->fd, SHUT_RDWR);
}

static uint64_t expire(Connections *s, ConnectionPhase phase, uint64_t now) {
        ConnectionQueue *q = &s->queues[phase];
        Connection *c;

        while ((c = TAILQ_FIRST(q)) && c->deadline <= now)
                cut_off(c);
        return c ? c->deadline : USEC_INFINITY;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Connections *s = userdata;
        uint64_t now, next = USEC_INFINITY;
        int r;

        r = sd_event_now(s->event, CLOCK_MONOTONIC, &now);
        if (r < 0)
                return r;
        s->timer_at = USEC_INFINITY;
        for (ConnectionPhase p = 0; p < _CONNECTION_PHASE_MAX; p++) {
                uint64_t first = expire(s, p, now);

                next = MIN2(next, first);
        }
        if (next != USEC_INFINITY)
                set_timer(s, next);
        return 0;
}

static void tell_drained(Connections *s) {
        connections_drained_t done = s->done;

        s->done = NULL;
        s->drain_timeout = sd_event_source_disable_unref(s->drain_timeout);
        if (done)
                done(s->userdata);
}

static int on_drained(sd_event_source *source, void *userdata) {
        tell_drained(userdata);
        return 0;
}

static int on_drain_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        tell_drained(userdata);
        return 0;
}

int connections_new(sd_event *event, const RpcConfig *config, Connections **ret) {
        _cleanup_(connections_freep) Connections *s = NULL;
        int r;

        s = new0(Connections, 1);
        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->config = config;
        s->timer_at = USEC_INFINITY;
        for (ConnectionPhase p = 0; p < _CONNECTION_PHASE_MAX; p++)
                TAILQ_INIT(&s->queues[p]);
        r = shares_new(&s->shares);
        if (r >= 0)
                r = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, USEC_INFINITY, 10 * USEC_PER_MSEC, on_timer, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_description(s->timer, "connections");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Connections *connections_free(Connections *s) {
        if (!s)
                return NULL;
        assert(s->n == 0 && s->memory == 0 && s->answers == 0);
        sd_event_source_disable_unref(s->timer);
        sd_event_source_disable_unref(s->drained);
        sd_event_source_disable_unref(s->drain_timeout);
        shares_free(s->shares);
        sd_event_unref(s->event);
        return mfree(s);
}

static bool is_full(const Connections *s) {
        return s->draining || s->n - s->n_cut >= s->config->connections_max;
}

/* As connections_make_room(), among a user's own. share counts the new one already. */
static bool share_make_room(Connections *s, Share *share) {
        static const ConnectionPhase idle[] = { CONNECTION_IDLE, CONNECTION_FRESH };
        Connection *c;

        if (share_allows(share, share->n - share->n_cut - 1, 1, s->config->connections_max))
                return true;
        for (size_t i = 0; i < ELEMENTSOF(idle); i++)
                TAILQ_FOREACH(c, &s->queues[idle[i]], entries)
                        if (c->share == share) {
                                cut_off(c);
                                return true;
                        }
        return false;
}

int connection_open(Connections *s, Connection *c, int fd, uid_t uid) {
        Share *share;

        if (is_full(s))
                return -EUSERS;
        share = share_get(s->shares, uid);
        if (!share)
                return -ENOMEM;
        if (!share_make_room(s, share)) {
                share_put(share);
                return -EUSERS;
        }
        *c = (Connection) { .connections = s, .fd = fd, .share = share };
        s->n++;
        s->n_most = MAX2(s->n_most, s->n);
        enqueue(c, CONNECTION_FRESH);
        return 0;
}

static void give_back(Connections *s) {
        if (s->n_most < FLOOD || s->n > s->n_most / 4)
                return;
        s->n_most = s->n;
        (void) malloc_trim(0);
}

void connection_close(Connection *c) {
        Connections *s = c->connections;

        if (!s)
                return;
        dequeue(c);
        c->connections = NULL;
        c->share = share_put(c->share);
        s->n--;
        give_back(s);
        if (s->n == 0 && s->drained)
                (void) sd_event_source_set_enabled(s->drained, SD_EVENT_ONESHOT);
}

void connection_set_phase(Connection *c, ConnectionPhase phase) {
        if (c->phase == CONNECTION_CUT)
                return;
        dequeue(c);
        enqueue(c, phase);
        if (phase == CONNECTION_IDLE && c->connections->draining)
                cut_off(c);
}

unsigned connections_count(const Connections *s) {
        return s->n;
}

bool connections_make_room(Connections *s) {
        Connection *c;

        if (!is_full(s))
                return true;
        c = TAILQ_FIRST(&s->queues[CONNECTION_IDLE]) ?: TAILQ_FIRST(&s->queues[CONNECTION_FRESH]);
        if (s->draining || !c)
                return false;
        cut_off(c);
        return true;
}

bool connection_take_memory(Connection *c, uint64_t size) {
        Connections *s = c->connections;

        if (size > CONNECTIONS_MEMORY_MAX - s->memory || !share_allows(c->share, c->share->memory, size, CONNECTIONS_MEMORY_MAX))
                return false;
        s->memory += size;
        c->share->memory += size;
        return true;
}

void connection_give_memory(Connection *c, uint64_t size) {
        if (size == 0)
                return;
        assert(size <= c->connections->memory && size <= c->share->memory);
        c->connections->memory -= size;
        c->share->memory -= size;
}

bool connection_take_answer(Connection *c, uint64_t size, bool admin) {
        uint64_t max = admin ? CONNECTIONS_ANSWERS_MAX : CONNECTIONS_ANSWERS_MAX / 2;
        Connections *s = c->connections;

        if (s->answers > max || size > max - s->answers || !share_allows(c->share, c->share->answers, size, max))
                return false;
        s->answers += size;
        c->share->answers += size;
        return true;
}

void connection_give_answer(Connection *c, uint64_t size) {
        if (size == 0)
                return;
        assert(size <= c->connections->answers && size <= c->share->answers);
        c->connections->answers -= size;
        c->share->answers -= size;
}

int connections_drain(Connections *s, uint64_t usec, connections_drained_t done, void *userdata) {
        static const ConnectionPhase between[] = { CONNECTION_FRESH, CONNECTION_IDLE };
        Connection *c;
        int r;

        assert(!s->draining);
        r = sd_event_add_defer(s->event, &s->drained, on_drained, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->drained, s->n > 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        if (r >= 0)
                r = sd_event_add_time_relative(s->event, &s->drain_timeout, CLOCK_MONOTONIC, usec, 10 * USEC_PER_MSEC,
                                               on_drain_timeout, s);
        if (r < 0)
                return r;
        s->draining = true;
        s->done = done;
        s->userdata = userdata;
        for (size_t i = 0; i < ELEMENTSOF(between); i++)
                while ((c = TAILQ_FIRST(&s->queues[between[i]])))
                        cut_off(c);
        return 0;
}

bool connections_are_draining(const Connections *s) {
        return s->draining;
}
