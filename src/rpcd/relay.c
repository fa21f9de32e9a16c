/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/relay.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

#define CHUNK (16u * 1024u)

typedef struct RelayEnd RelayEnd;

/* One end, and what was read from it and is not written yet. */
struct RelayEnd {
        Relay *relay;
        RelayEnd *other;
        int fd;
        sd_event_source *source;
        char *kept;
        size_t begin, end;
        bool eof;
};

struct Relay {
        RelayEnd ends[2];
        relay_done_t done;
        void *userdata;
};

static bool is_pending(const RelayEnd *e) {
        return e->end > e->begin;
}

/* Off where nothing is waited for: a hang-up cannot be masked, and would wake us again and again. At the end of file it is on, for
 * then a hang-up is news. */
static void settle(RelayEnd *e) {
        uint32_t events = (!e->eof && !is_pending(e) ? EPOLLIN : 0) | (is_pending(e->other) ? EPOLLOUT : 0);

        (void) sd_event_source_set_io_events(e->source, events);
        (void) sd_event_source_set_enabled(e->source, events || e->eof ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* What e has kept goes to the other end. */
static int pass_on(RelayEnd *e) {
        ssize_t n;

        n = send(e->other->fd, e->kept + e->begin, e->end - e->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
        e->begin += (size_t) n;
        if (!is_pending(e)) {
                e->kept = mfree(e->kept);
                e->begin = e->end = 0;
        }
        return 0;
}

static int keep(RelayEnd *e, const char *p, size_t n) {
        e->kept = memdup(p, n);
        if (!e->kept)
                return -ENOMEM;
        e->begin = 0;
        e->end = n;
        return 0;
}

static int receive(RelayEnd *e) {
        static char buffer[CHUNK];
        ssize_t n, k;

        n = recv(e->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
        if (n == 0) {
                e->eof = true;
                (void) shutdown(e->other->fd, SHUT_WR);
                return 0;
        }
        k = send(e->other->fd, buffer, (size_t) n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN && errno != EINTR)
                return negative_errno();
        k = MAX2(k, 0);
        return k < n ? keep(e, buffer + k, (size_t) (n - k)) : 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        RelayEnd *e = userdata;
        Relay *relay = e->relay;
        int r = 0;

        if (is_pending(e->other) && events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
                r = pass_on(e->other);
        if (r >= 0 && e->eof && events & (EPOLLHUP | EPOLLERR))
                r = -EPIPE;
        if (r >= 0 && !e->eof && !is_pending(e))
                r = receive(e);
        if (r < 0 || (e->eof && e->other->eof)) {
                relay->done(relay, relay->userdata);
                return 0;
        }
        settle(e);
        settle(e->other);
        return 0;
}

int relay_new(sd_event *event, int a, int b, relay_done_t done, void *userdata, Relay **ret) {
        _cleanup_(relay_freep) Relay *relay = NULL;
        int r;

        relay = new0(Relay, 1);
        if (!relay) {
                safe_close(a);
                safe_close(b);
                return -ENOMEM;
        }
        relay->done = done;
        relay->userdata = userdata;
        for (unsigned i = 0; i < 2; i++)
                relay->ends[i] = (RelayEnd){ .relay = relay, .other = &relay->ends[1 - i], .fd = i == 0 ? a : b };
        for (unsigned i = 0; i < 2; i++) {
                r = sd_event_add_io(event, &relay->ends[i].source, relay->ends[i].fd, EPOLLIN, on_io, &relay->ends[i]);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(relay);
        return 0;
}

Relay *relay_free(Relay *relay) {
        if (!relay)
                return NULL;
        for (unsigned i = 0; i < 2; i++) {
                sd_event_source_disable_unref(relay->ends[i].source);
                safe_close(relay->ends[i].fd);
                free(relay->ends[i].kept);
        }
        return mfree(relay);
}
