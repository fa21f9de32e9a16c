/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/channel.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "basic/fd-util.h"

#define READ_SIZE 32768u

void channel_init(Channel *c, int fd) {
        *c = (Channel) { .fd = fd, .readable = true, .writable = true };
}

void channel_done(Channel *c) {
        c->fd = safe_close(c->fd);
        buffer_done(&c->in);
        buffer_done(&c->out);
}

void channel_events(Channel *c, uint32_t events) {
        if (events & (EPOLLIN | EPOLLHUP))
                c->readable = true;
        if (events & (EPOLLOUT | EPOLLHUP))
                c->writable = true;
}

/* 1 something was read, 0 nothing (yet or any more). */
static int fill(Channel *c) {
        uint8_t *p;
        ssize_t n;

        if (!c->readable)
                return 0;

        p = buffer_reserve(&c->in, READ_SIZE);
        if (!p)
                return -ENOMEM;

        do
                n = read(c->fd, p, READ_SIZE);
        while (n < 0 && errno == EINTR);

        if (n <= 0) {
                c->readable = false;
                if (n == 0) {
                        /* The host end is closed. What it said last may have been cut off by its death only
                         * between two frames, unless it spoke nonsense: then this is the new start. */
                        if (c->broken) {
                                c->broken = false;
                                buffer_consume(&c->in, buffer_size(&c->in));
                        }
                        return 0;
                }
                return errno == EAGAIN ? 0 : negative_errno();
        }
        if (!c->broken)
                buffer_commit(&c->in, (size_t) n);
        return 1;
}

int channel_next(Channel *c, GpHeader *ret, const uint8_t **ret_payload) {
        int r;

        buffer_consume(&c->in, c->in_used);
        c->in_used = 0;

        /* The answers to what is read must have room. */
        if (buffer_size(&c->out) >= 2 * CHANNEL_DATA_HIGH)
                return 0;

        for (;;) {
                if (!c->broken) {
                        r = gp_frame_next(buffer_front(&c->in), buffer_size(&c->in), ret, ret_payload,
                                        &c->in_used);
                        if (r > 0)
                                return 1;
                        if (r < 0) {
                                c->broken = true;
                                buffer_consume(&c->in, buffer_size(&c->in));
                                return r;
                        }
                }
                r = fill(c);
                if (r <= 0)
                        return r;
        }
}

int channel_send(Channel *c, GpWriter *w) {
        size_t n;
        int r;

        r = gp_writer_finish(w, &n);
        if (r < 0)
                return r;
        return buffer_append(&c->out, w->buf, n);
}

uint8_t *channel_reserve_data(Channel *c, size_t n) {
        uint8_t *p;

        p = buffer_reserve(&c->out, GP_HEADER_SIZE + n);
        return p ? p + GP_HEADER_SIZE : NULL;
}

void channel_send_data(Channel *c, GpType type, uint32_t stream, size_t n) {
        GpHeader h = { .length = (uint32_t) n, .type = (uint16_t) type, .stream = stream };

        gp_header_write(c->out.p + c->out.end, &h);
        buffer_commit(&c->out, GP_HEADER_SIZE + n);
}

int channel_flush(Channel *c) {
        while (c->writable && buffer_size(&c->out) > 0) {
                ssize_t n = write(c->fd, buffer_front(&c->out), buffer_size(&c->out));

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        c->writable = false;
                        return errno == EAGAIN ? 0 : negative_errno();
                }
                buffer_consume(&c->out, (size_t) n);
        }
        return 0;
}
