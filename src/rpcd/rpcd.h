/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-rpcd: what its parts share. Owned by main.c.
 *
 *     http.c, line.c     sockets: requests come in here, with limits (front)
 *     auth.h             who asks
 *     rpc.h              JSON-RPC 2.0: a body in, a body out, however many calls are in it
 *     method.h           the one table of methods: parameters, access, results, handlers; OpenRPC is made of it
 *     call.h             one call in flight, as handlers see it
 *     replica.h          VMs as hero-computed last told them, ready to be sent
 *     methods-NOUN.c     the handlers
 *
 * A request walks down this list and back up. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "rpcd/auth.h"
#include "rpcd/rpc-config.h"

typedef struct Replica Replica;
typedef struct Jobs Jobs;
typedef struct Guests Guests;

typedef struct Rpcd {
        sd_event *event;
        sd_bus *bus;
        RpcConfig config;
        Auth *auth;
        Replica *replica;
        Jobs *jobs;
        Guests *guests;
        uint64_t started; /* CLOCK_REALTIME */
} Rpcd;
