/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What bounds the other sides of all sockets together: how many there are, how long each may take for what it does, how much
 * memory holds what they sent. Of all that is counted those of one user id other than root's may have half. An accepted socket is in one phase at a time; each phase has a deadline, and who misses it is cut
 * off by shutdown(2): its owner (http.c, line.c) reads an end of file. Nothing here is allocated for a connection or a request,
 * and a change of phase costs no system call but now and then. What a flood of connections made libc take is given back when it is
 * over. */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"
#include "rpcd/rpc-config.h"

typedef struct Connections Connections;
typedef struct Share Share;

typedef enum ConnectionPhase {
        CONNECTION_FRESH,   /* accepted, nothing is known of a request yet: RequestTimeoutSec= */
        CONNECTION_REQUEST, /* a request arrives: RequestTimeoutSec= for the whole of it */
        CONNECTION_CALL,    /* it waits for us: no deadline */
        CONNECTION_ANSWER,  /* it takes its answer: IdleTimeoutSec= */
        CONNECTION_IDLE,    /* between two requests: IdleTimeoutSec= */
        CONNECTION_CUT,     /* missed its deadline; not the owner's to set */
        _CONNECTION_PHASE_MAX,
} ConnectionPhase;

/* Embedded in what owns the socket. */
typedef struct Connection {
        Connections *connections; /* NULL: not open */
        int fd;                   /* the owner's */
        Share *share;             /* of whoever connected */
        ConnectionPhase phase;
        uint64_t deadline;
        TAILQ_ENTRY(Connection) entries;
} Connection;

int connections_new(sd_event *event, const RpcConfig *config, Connections **ret);
Connections *connections_free(Connections *s); /* all are closed by now */
DEFINE_TRIVIAL_CLEANUP_FUNC(Connections *, connections_free);

/* uid: of the other end. -EUSERS: there are ConnectionsMax= of them already, or half as many of this uid and none of
 * them idle, or no more are wanted; this one is to be closed. */
int connection_open(Connections *s, Connection *c, int fd, uid_t uid);
void connection_close(Connection *c); /* what it took it has given back by now */
void connection_set_phase(Connection *c, ConnectionPhase phase);

unsigned connections_count(const Connections *s);

/* Before one is accepted. When there are as many as there may be, whoever has done nothing for the longest time is cut off for it:
 * idle connections keep nobody out. False: all are busy. */
bool connections_make_room(Connections *s);

/* Memory for requests that are not complete, of all connections. False: there is no more, the request is refused. */
#define CONNECTIONS_MEMORY_MAX (UINT64_C(64) * 1024 * 1024)
bool connection_take_memory(Connection *c, uint64_t size);
void connection_give_memory(Connection *c, uint64_t size);

/* Memory for answers that are not sent yet, of all connections; of it half is for administrators alone. False: there is no more,
 * the answer is not given. */
#define CONNECTIONS_ANSWERS_MAX (UINT64_C(256) * 1024 * 1024)
bool connection_take_answer(Connection *c, uint64_t size, bool admin);
void connection_give_answer(Connection *c, uint64_t size);

/* No more requests: who is between two is cut off now, the others when they have their answer. done is called from the loop when
 * there is nobody left or usec have passed. */
typedef void (*connections_drained_t)(void *userdata);
int connections_drain(Connections *s, uint64_t usec, connections_drained_t done, void *userdata);
bool connections_are_draining(const Connections *s);
