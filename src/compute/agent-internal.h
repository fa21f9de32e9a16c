/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between agent.c (the channel) and session.c (what runs on it). */

#include <sys/queue.h>

#include "compute/agent.h"
#include "guest-protocol/flow.h"
#include "guest-protocol/guest-protocol.h"

typedef struct Session Session;
typedef TAILQ_HEAD(SessionList, Session) SessionList;

struct Agent {
        Vm *vm;
        int fd;
        sd_event_source *io;
        agent_event_t callback;
        void *userdata;
        uint8_t *out; /* what the channel did not take yet */
        size_t n_out, allocated_out;
        SessionList sessions;
        unsigned n_sessions;
        uint32_t next_stream;
        uint64_t nonce;
        bool boot_sent:1, ready:1, lost:1, resuming:1, command_ended:1;
};

/* Queues a control frame. Bounded: a guest that does not read so much is not there any more, and the channel is given up. */
int agent_send(Agent *a, GpWriter *w);
/* Sends a data frame now or not at all: -EAGAIN. */
int agent_send_data(Agent *a, GpType type, uint32_t stream, const void *p, size_t n);
void agent_activity(Agent *a);

/* A frame of a stream other than 0. Data is delivered before it returns. False: nobody had a use for it. */
bool session_frame(Agent *a, const GpHeader *h, const uint8_t *payload);
void session_resumed(Agent *a, const GpStreamState *state);
/* The channel takes data again. */
void session_pump(Session *s);
void session_pump_all(Agent *a);
/* Ends a session: last message on its control socket (may be NULL), all sockets shut down. */
void session_end(Session *s, const char *message);
void session_forget_all(Agent *a);
void session_end_all(Agent *a, const char *message);
/* After RESUMED: those the guest did not name have ended meanwhile. */
void session_end_unnamed(Agent *a);
