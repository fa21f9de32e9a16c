/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's end of the agent channel: frames in, frames out, over a character device (or, in the unit tests,
 * a socket) that never blocks. Owns the fd and both queues; knows nothing of what the frames mean.
 *
 * The host end may go away and come back: reads then give 0, and both queues stay as they are, a partial frame
 * included. */

#include "guest-init/buffer.h"
#include "guest-protocol/guest-protocol.h"

/* No data frame is added while this much waits to be sent; frames from the host are left unread while twice as
 * much does. So the output queue is bounded by what one input frame can cause. */
#define CHANNEL_DATA_HIGH (96u * 1024u)

typedef struct Channel {
        int fd;
        bool readable, writable; /* until EAGAIN; set by edge-triggered events */
        bool broken;             /* the host spoke nonsense; nothing is read until it reconnects */
        Buffer in, out;
        size_t in_used;          /* size of the frame channel_next() returned last */
} Channel;

void channel_init(Channel *c, int fd); /* takes fd over, which must be non-blocking */
void channel_done(Channel *c);

/* EPOLLIN, EPOLLOUT, EPOLLHUP as epoll reported them (edge-triggered). */
void channel_events(Channel *c, uint32_t events);

/* The next frame. 1: *ret_payload is valid until the next call; 0: nothing (more) to read now; -EBADMSG once,
 * when the stream has become unusable. */
int channel_next(Channel *c, GpHeader *ret, const uint8_t **ret_payload);

/* Queues a finished frame. -ENOMEM, or the writer's own error. */
int channel_send(Channel *c, GpWriter *w);

/* A data frame without a copy: reserve room for up to n bytes of payload, fill it, then send what was filled
 * (0 = end of file). Not filling it is fine. NULL on ENOMEM. */
uint8_t *channel_reserve_data(Channel *c, size_t n);
void channel_send_data(Channel *c, GpType type, uint32_t stream, size_t n);

static inline bool channel_takes_data(const Channel *c) {
        return buffer_size(&c->out) < CHANNEL_DATA_HIGH;
}

/* Writes what the device takes. 0 or -errno (EAGAIN is 0). */
int channel_flush(Channel *c);
