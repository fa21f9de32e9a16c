/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/connection.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"

#define READ_SIZE 4096u

static void forget_call(VmmConnection *c, VmmCall *call) {
        LIST_REMOVE(call, calls);
        c->n_calls--;
        free(call);
}

/* Fails every call, then says LOST; the monitor may be freed at any point of it. */
static void lose(VmmConnection *c) {
        bool freed = false;
        VmmCall *call;

        c->lost = true;
        c->io = sd_event_source_disable_unref(c->io);
        c->freed = &freed;
        while (!freed && (call = LIST_FIRST(&c->calls)))
                vmm_connection_answer(c, call, -ECONNRESET, "The connection to the VMM broke.");
        if (!freed)
                vmm_connection_event(c, VMM_EVENT_LOST);
        if (!freed)
                c->freed = NULL;
}

/* Calls the driver for every whole line in the buffer. 1: the monitor was freed; -errno: lost. */
static int dispatch_lines(VmmConnection *c) {
        size_t begin = 0;
        bool freed = false;
        int r = 0;

        c->freed = &freed;
        for (;;) {
                char *end = memchr(c->in + c->in_scanned, '\n', c->n_in - c->in_scanned);
                size_t n;

                if (!end) {
                        c->in_scanned = c->n_in;
                        break;
                }
                n = (size_t) (end - (c->in + begin));
                c->in_scanned = begin + n + 1;
                *end = 0;
                if (n > 0 && end[-1] == '\r')
                        c->in[begin + --n] = 0;
                r = c->line(c, c->in + begin, n);
                if (freed)
                        return 1;
                begin = c->in_scanned;
                if (r < 0)
                        break;
        }
        c->freed = NULL;
        memmove(c->in, c->in + begin, c->n_in - begin);
        c->n_in -= begin;
        c->in_scanned -= begin;
        return r;
}

/* 1: freed; 0: nothing more at the moment; -errno: lost. */
static int receive(VmmConnection *c) {
        ssize_t n;
        int r;

        if (c->n_in >= CONNECTION_LINE_MAX)
                return -EMSGSIZE;
        if (!GREEDY_REALLOC(c->in, c->in_allocated, c->n_in + READ_SIZE))
                return -ENOMEM;
        n = recv(c->fd, c->in + c->n_in, READ_SIZE, MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
        if (n == 0)
                return -ECONNRESET;
        c->n_in += (size_t) n;
        r = dispatch_lines(c);
        /* 1,000 idle monitors should not each keep what one answer needed. */
        if (r == 0 && c->n_in == 0) {
                c->in = mfree(c->in);
                c->in_allocated = 0;
        }
        return r;
}

/* -errno; pass_fd goes beside the first of the bytes. */
static ssize_t send_beside(int fd, const void *p, size_t n, int pass_fd) {
        return send_some_fds(fd, p, n, &pass_fd, pass_fd >= 0, MSG_DONTWAIT);
}

/* A waiting fd goes with its own line, neither earlier nor later. */
static ssize_t send_output(VmmConnection *c) {
        ssize_t n;

        if (c->out_fd < 0)
                return send_beside(c->fd, c->out, c->n_out, -EBADF);
        if (c->out_fd_at == 0) {
                n = send_beside(c->fd, c->out, c->n_out, c->out_fd);
                if (n > 0)
                        c->out_fd = safe_close(c->out_fd);
                return n;
        }
        n = send_beside(c->fd, c->out, c->out_fd_at, -EBADF);
        if (n > 0)
                c->out_fd_at -= (size_t) n;
        return n;
}

static int flush_output(VmmConnection *c) {
        ssize_t n;

        while (c->n_out > 0) {
                n = send_output(c);
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return n == -EAGAIN ? 0 : (int) n;
                memmove(c->out, c->out + n, c->n_out - (size_t) n);
                c->n_out -= (size_t) n;
        }
        c->out = mfree(c->out);
        c->out_allocated = 0;
        return sd_event_source_set_io_events(c->io, EPOLLIN);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        VmmConnection *c = userdata;
        int r = 0;

        if (revents & EPOLLOUT)
                r = flush_output(c);
        if (r >= 0 && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                r = receive(c);
        if (r < 0)
                lose(c);
        return 0;
}

/* Answers to a daemon that is no more must not be taken for ours: ids begin at the present time. Below 2^53, so
 * that they survive a JSON implementation with doubles. */
static uint64_t first_id(void) {
        return now_usec(CLOCK_REALTIME) & ((UINT64_C(1) << 52) - 1);
}

int vmm_connection_init(VmmConnection *c, const Hypervisor *h, sd_event *event, int fd, vmm_line_t line,
                        vmm_event_t callback, void *userdata) {
        int r;

        r = sd_event_add_io(event, &c->io, fd, EPOLLIN, on_io, c);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(c->io, "vmm-monitor");
        c->monitor = (VmmMonitor) { .hypervisor = h, .event = callback, .userdata = userdata };
        c->line = line;
        c->fd = fd;
        c->out_fd = -EBADF;
        c->next_id = first_id();
        LIST_INIT(&c->calls);
        return 0;
}

void vmm_connection_done(VmmConnection *c) {
        VmmCall *call;

        if (c->freed)
                *c->freed = true;
        c->io = sd_event_source_disable_unref(c->io);
        while ((call = LIST_FIRST(&c->calls)))
                forget_call(c, call);
        c->fd = safe_close(c->fd);
        c->out_fd = safe_close(c->out_fd);
        c->in = mfree(c->in);
        c->out = mfree(c->out);
}

/* Keeps what could not be sent at once. */
static int queue_output(VmmConnection *c, const char *p, size_t n, int pass_fd) {
        if (pass_fd >= 0 && c->out_fd >= 0)
                return -EBUSY;
        if (c->n_out + n > CONNECTION_OUTPUT_MAX)
                return -ENOBUFS;
        if (!GREEDY_REALLOC(c->out, c->out_allocated, c->n_out + n))
                return -ENOMEM;
        if (pass_fd >= 0) {
                c->out_fd = fcntl(pass_fd, F_DUPFD_CLOEXEC, 3);
                if (c->out_fd < 0)
                        return negative_errno();
                c->out_fd_at = c->n_out;
        }
        memcpy(c->out + c->n_out, p, n);
        c->n_out += n;
        return sd_event_source_set_io_events(c->io, EPOLLIN | EPOLLOUT);
}

int vmm_connection_send(VmmConnection *c, const char *p, size_t n, int pass_fd) {
        ssize_t k = 0;

        if (c->lost)
                return -ENOTCONN;
        if (c->n_out == 0) {
                k = send_beside(c->fd, p, n, pass_fd);
                if (k == -EBADF)
                        return -EBADF;
                if (k < 0 && k != -EAGAIN && k != -EINTR)
                        return -ENOTCONN; /* LOST follows when the loop reads the end of the connection */
                if ((size_t) MAX2(k, 0) == n)
                        return 0;
        }
        return k > 0 ? queue_output(c, p + k, n - (size_t) k, -EBADF) : queue_output(c, p, n, pass_fd);
}

int vmm_connection_call(VmmConnection *c, int kind, vmm_done_t done, void *userdata, VmmCall **ret) {
        VmmCall *call;

        if (c->lost)
                return -ENOTCONN;
        if (c->n_calls >= CONNECTION_CALLS_MAX)
                return -EAGAIN;
        call = new(VmmCall, 1);
        if (!call)
                return -ENOMEM;
        *call = (VmmCall) { .id = c->next_id++, .kind = kind, .done = done, .userdata = userdata };
        LIST_INSERT_HEAD(&c->calls, call, calls);
        c->n_calls++;
        *ret = call;
        return 0;
}

void vmm_connection_cancel(VmmConnection *c, VmmCall *call) {
        forget_call(c, call);
}

VmmCall *vmm_connection_find(VmmConnection *c, uint64_t id) {
        VmmCall *call;

        LIST_FOREACH(call, &c->calls, calls)
                if (call->id == id)
                        return call;
        return NULL;
}

void vmm_connection_answer(VmmConnection *c, VmmCall *call, int error, const char *text) {
        vmm_done_t done = call->done;
        void *userdata = call->userdata;

        forget_call(c, call);
        if (done)
                done(&c->monitor, error, text, userdata);
}

void vmm_connection_event(VmmConnection *c, VmmEvent event) {
        if (c->monitor.event)
                c->monitor.event(&c->monitor, event, c->monitor.userdata);
}
