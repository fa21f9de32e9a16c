/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The issuer's keys, fetched by HTTP when a token first wants them and kept for a while. Belongs to one sd-event loop and never
 * blocks it, nor speaks HTTP: that is done by hero-jwks-fetch, of another user and with a unit of its own (jwks-protocol.h). */

#include <systemd/sd-event.h>

#include "rpcd/jwk-set.h"

typedef struct Jwks Jwks;

typedef struct JwksOptions {
        uint64_t timeout_usec;  /* of a fetch, all in all; 0: 10 s */
        uint64_t lifetime_usec; /* then they are fetched again before they are used; 0: 10 min */
        uint64_t keep_usec;     /* while that fails the old ones are used so long, and then none; 0: 1 h */
        uint64_t pause_usec;    /* from the end of a fetch to the next; 0: 10 s */
} JwksOptions;

/* url NULL: there are no keys. done(): a fetch has ended; changed: the keys are others than they were. Called from the loop. */
typedef void (*jwks_done_t)(bool changed, void *userdata);
int jwks_new(sd_event *event, const char *url, const JwksOptions *options, jwks_done_t done, void *userdata, Jwks **ret);
Jwks *jwks_free(Jwks *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(Jwks *, jwks_free);

/* 1: *ret are the keys, valid until the loop runs; 0: they are being fetched, done() follows; -ENOKEY: there are none. */
int jwks_need(Jwks *j, const JwkSet **ret);

/* For a key that is not among them: the issuer may have a new one. 0: being fetched, done() follows; -EAGAIN: they were a moment ago. */
int jwks_refresh(Jwks *j);
