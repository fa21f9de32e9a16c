/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/relay.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

#define FLOW_BUFFER (64u * 1024u)
/* A pipe that polls writable takes this much without blocking. */
#define BLOCKING_CHUNK 4096u

typedef struct End {
        int fd;
        bool is_socket;
        bool is_file;     /* always ready, cannot be polled */
        bool is_blocking; /* the description is shared and could not be opened anew */
        sd_event_source *source;
} End;

struct Flow {
        sd_event *event;
        End from, to;
        char *buffer;
        size_t begin, end; /* what is not yet written */
        bool eof;
        bool finished;
        bool filtering;
        FlowDone done;
        FlowFilter filter;
        void *userdata;
};

static void end_close(End *e) {
        e->source = sd_event_source_disable_unref(e->source);
        e->fd = safe_close(e->fd);
}

Flow *flow_free(Flow *f) {
        if (!f)
                return NULL;
        end_close(&f->from);
        end_close(&f->to);
        sd_event_unref(f->event);
        free(f->buffer);
        return mfree(f);
}

/* O_NONBLOCK belongs to the description, which a shell shares with us: open pipes and terminals anew for one of
 * our own. A file would lose its position, a socket cannot be opened (and has MSG_DONTWAIT). */
static int end_open(End *e, int fd, int access_mode) {
        char path[sizeof("/proc/self/fd/") + 11];
        struct stat st;

        e->fd = -EBADF;
        if (fstat(fd, &st) < 0)
                return negative_errno();
        e->is_socket = S_ISSOCK(st.st_mode);
        if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
                snprintf(path, sizeof(path), "/proc/self/fd/%i", fd);
                e->fd = open(path, access_mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        }
        if (e->fd < 0) {
                e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                e->is_blocking = !e->is_socket;
        }
        return e->fd < 0 ? negative_errno() : 0;
}

static ssize_t end_read(End *e, char *p, size_t n) {
        ssize_t k;

        do
                k = e->is_socket ? recv(e->fd, p, n, MSG_DONTWAIT) : read(e->fd, p, n);
        while (k < 0 && errno == EINTR);
        if (k < 0 && (errno == EIO || errno == ECONNRESET)) /* the other side of a terminal or socket is gone */
                return 0;
        return k < 0 ? negative_errno() : k;
}

static ssize_t end_write(End *e, const char *p, size_t n) {
        ssize_t k;

        if (e->is_blocking)
                n = MIN2(n, BLOCKING_CHUNK);
        do
                k = e->is_socket ? send(e->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL) : write(e->fd, p, n);
        while (k < 0 && errno == EINTR);
        return k < 0 ? negative_errno() : k;
}

static void enable(End *e, bool on) {
        (void) sd_event_source_set_enabled(e->source, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void settle(Flow *f) {
        bool pending = f->end > f->begin;

        if (f->finished)
                return;
        enable(&f->from, !f->eof && !pending);
        /* With nothing to write, errors alone: the reader of "heroctl logs -f | head -1" leaves unannounced. */
        if (f->to.is_file)
                enable(&f->to, pending);
        else
                (void) sd_event_source_set_io_events(f->to.source, pending ? EPOLLOUT : 0);
}

static void finish(Flow *f, int error) {
        if (f->finished)
                return;
        f->finished = true;
        end_close(&f->from);
        end_close(&f->to);
        f->done(f, error, f->userdata); /* may free f */
}

static void flow_write(Flow *f) {
        ssize_t k = 0;

        if (f->end > f->begin) {
                k = end_write(&f->to, f->buffer + f->begin, f->end - f->begin);
                if (k < 0 && k != -EAGAIN) {
                        finish(f, (int) k);
                        return;
                }
                if (k > 0)
                        f->begin += (size_t) k;
        }
        if (f->begin == f->end) {
                f->begin = f->end = 0;
                if (f->eof) {
                        finish(f, 0);
                        return;
                }
        }
        settle(f);
}

static void flow_read(Flow *f) {
        ssize_t k;

        k = end_read(&f->from, f->buffer, FLOW_BUFFER);
        if (k == -EAGAIN)
                return;
        if (k < 0) {
                finish(f, (int) k);
                return;
        }
        if (k == 0)
                f->eof = true;
        f->begin = 0;
        f->end = (size_t) k;
        if (k > 0 && f->filter) {
                f->filtering = true;
                f->end = f->filter(f, f->buffer, f->end, f->userdata);
                f->filtering = false;
        }
        /* A pipe or socket takes it at once; for what may block, poll first. */
        if (f->eof || f->end == 0 || !f->to.is_blocking)
                flow_write(f);
        else
                settle(f);
}

static int on_from(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        flow_read(userdata);
        return 0;
}

static int on_to(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        Flow *f = userdata;

        if (f->begin == f->end && (events & (EPOLLERR | EPOLLHUP)))
                finish(f, -EPIPE);
        else
                flow_write(f);
        return 0;
}

static int on_from_defer(sd_event_source *s, void *userdata) {
        flow_read(userdata);
        return 0;
}

static int on_to_defer(sd_event_source *s, void *userdata) {
        flow_write(userdata);
        return 0;
}

/* A regular file cannot be polled: it is always ready. */
static int watch(Flow *f, End *e, uint32_t events, sd_event_io_handler_t io, sd_event_handler_t defer) {
        int r;

        r = sd_event_add_io(f->event, &e->source, e->fd, events, io, f);
        e->is_file = r == -EPERM;
        if (e->is_file)
                r = sd_event_add_defer(f->event, &e->source, defer, f);
        return r;
}

int flow_new(sd_event *event, int from, int to, FlowDone done, void *userdata, Flow **ret) {
        _cleanup_flow_ Flow *f = NULL;
        int r;

        (void) signal(SIGPIPE, SIG_IGN); /* -EPIPE says it */
        f = new0(Flow, 1);
        if (!f)
                return -ENOMEM;
        f->from.fd = f->to.fd = -EBADF;
        f->event = sd_event_ref(event);
        f->done = done;
        f->userdata = userdata;
        f->buffer = malloc(FLOW_BUFFER + FLOW_FILTER_EXTRA);
        if (!f->buffer)
                return -ENOMEM;
        r = end_open(&f->from, from, O_RDONLY);
        if (r < 0)
                return r;
        r = end_open(&f->to, to, O_WRONLY);
        if (r < 0)
                return r;
        r = watch(f, &f->from, EPOLLIN, on_from, on_from_defer);
        if (r < 0)
                return r;
        r = watch(f, &f->to, EPOLLOUT, on_to, on_to_defer);
        if (r < 0)
                return r;
        settle(f);
        *ret = TAKE_PTR(f);
        return 0;
}

void flow_set_filter(Flow *f, FlowFilter filter) {
        f->filter = filter;
}

void flow_finish(Flow *f) {
        f->eof = true;
        if (!f->finished && !f->filtering)
                flow_write(f);
}
