/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-rpcd's end of jwks-protocol.h: one connection, one question, one answer. Nothing here waits. */

#include <systemd/sd-event.h>

#include "rpcd/jwk-set.h"

typedef struct JwksClient JwksClient;

/* Either keys, which are the callee's then, or why there are none (without a full stop). The client is freed afterwards. */
typedef void (*jwks_answer_t)(JwkSet *keys, const char *why, void *userdata);

/* -ENOENT, -ECONNREFUSED: nobody listens; -EAGAIN: too many are connected; others. timeout_usec is what the other end has. */
int jwks_client_new(sd_event *event, const char *url, uint64_t timeout_usec, jwks_answer_t answer, void *userdata,
                    JwksClient **ret);
JwksClient *jwks_client_free(JwksClient *c); /* answer() is not called any more */
DEFINE_TRIVIAL_CLEANUP_FUNC(JwksClient *, jwks_client_free);
