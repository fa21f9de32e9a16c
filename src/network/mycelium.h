/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The subnet of the host's mycelium daemon, asked for over its HTTP API and asked for again for as long as this
 * lives: a daemon that is not there yet is tried again after growing pauses, one that answered is asked now and then
 * whether it still has the same subnet (a new key gives it another).
 *
 * Belongs to one sd-event loop and never blocks it, nor speaks HTTP: that is done by a child without privileges,
 * hero-mycelium, one for each question (so SIGCHLD must be blocked, see sd_event_add_child()). What was learnt stays known
 * when the daemon goes away: addresses are given out of it. An answer is bounded in size and time and nothing in it is
 * believed but an IPv6 /64 within 400::/7, all that mycelium gives. */

#include <systemd/sd-event.h>

#include "network/address.h"

#define MYCELIUM_URL "http://127.0.0.1:8989/api/v1/admin"

typedef struct Mycelium Mycelium;

typedef struct MyceliumOptions {
        const char *url;           /* NULL: MYCELIUM_URL. http:// only, no password; no proxy, no redirection */
        uint64_t timeout_usec;     /* of one request, all in all; 0: 5 s */
        uint64_t retry_min_usec;   /* the first pause after a failure, doubled with each; 0: 250 ms */
        uint64_t retry_max_usec;   /* … up to this; 0: 60 s */
        uint64_t refresh_usec;     /* from an answer to the next question; 0: 60 s */
} MyceliumOptions;

/* Called from the loop, never from within a function below, and must not free what it is told of. */
typedef struct MyceliumEvents {
        /* The subnet is known, or is another than it was. */
        void (*subnet)(Mycelium *m, const Subnet *subnet, void *userdata);
        /* A request failed, the first or after one that did not: one call however many failures follow. */
        void (*failed)(Mycelium *m, int error, void *userdata);
} MyceliumEvents;

/* Asks at once, or as soon as the loop runs. *events must live on. -EINVAL: not such a URL; -ENOMEM and others from
 * the loop. */
int mycelium_new(sd_event *e, const MyceliumOptions *o, const MyceliumEvents *events, void *userdata,
                 Mycelium **ret);
Mycelium *mycelium_free(Mycelium *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(Mycelium *, mycelium_free);

/* The subnet known last; NULL: none yet. */
const Subnet *mycelium_subnet(const Mycelium *m) _pure_;

/* Of the request ended last: 0; -EINPROGRESS: none ended yet; -ECONNREFUSED, -ENETUNREACH, …: not reached;
 * -ETIMEDOUT; -ECONNRESET: ended within its answer; -E2BIG: more than an answer can be; -EPROTO: not an HTTP answer
 * of status 200; -EBADMSG: not the object that is expected, or not a subnet of mycelium; -EIO: the child came to grief;
 * others: it could not be run. */
int mycelium_result(const Mycelium *m) _pure_;
/* The same in words, for people; "" for 0. */
const char *mycelium_error_text(const Mycelium *m) _pure_;

/* Asks now instead of after the pause, and starts with short pauses again. While a request is under way: once more
 * after it, as its answer may be older than what this is called for. */
int mycelium_refresh(Mycelium *m);

/* The subnet in the body of an answer of GET /api/v1/admin, of any version (before 0.7.8 there is no nodeIp).
 * Pure. -EBADMSG. */
int mycelium_parse(const char *body, size_t size, Subnet *ret);
/* The same of the subnet's text alone. */
int mycelium_parse_subnet(const char *text, Subnet *ret);
