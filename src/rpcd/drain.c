/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/drain.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

#define CHUNK (64u * 1024u) /* then others have their turn */

static void end(Drain *d) {
        d->source = sd_event_source_disable_unref(d->source);
        d->fd = safe_close(d->fd);
        d->ended = true;
        d->done(d, d->userdata);
}

static void keep(Drain *d, const char *p, size_t n) {
        size_t k = MIN2(n, d->max - d->size);

        /* Without memory it is cut off here. */
        if (k > 0 && !GREEDY_REALLOC(d->data, d->allocated, d->size + k))
                d->max = d->size, k = 0;
        if (k > 0)
                memcpy(d->data + d->size, p, k);
        d->size += k;
        d->truncated = d->truncated || k < n;
}

static void pump(Drain *d) {
        static char buffer[CHUNK];
        ssize_t n;

        n = recv(d->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n < 0 && errno == ENOTSOCK)
                n = read(d->fd, buffer, sizeof(buffer));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n > 0)
                keep(d, buffer, (size_t) n);
        else /* an error is an end, too: the other side is gone */
                end(d);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        pump(userdata);
        return 0;
}

static int on_defer(sd_event_source *source, void *userdata) {
        pump(userdata);
        return 0;
}

int drain_start(Drain *d, sd_event *event, int fd, size_t max, drain_done_t done, void *userdata) {
        int r;

        *d = (Drain){ .fd = fd, .max = max, .started = true, .done = done, .userdata = userdata };
        (void) fd_nonblock(fd, true);
        r = sd_event_add_io(event, &d->source, fd, EPOLLIN, on_io, d);
        if (r == -EPERM) { /* a file: it is always ready */
                r = sd_event_add_defer(event, &d->source, on_defer, d);
                if (r >= 0)
                        r = sd_event_source_set_enabled(d->source, SD_EVENT_ON);
        }
        if (r < 0)
                return r;
        return sd_event_source_set_description(d->source, "drain");
}

void drain_done(Drain *d) {
        if (!d->started)
                return;
        d->source = sd_event_source_disable_unref(d->source);
        d->fd = safe_close(d->fd);
        d->data = mfree(d->data);
        d->started = false;
}
