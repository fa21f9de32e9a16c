/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Carries bytes between two stream sockets, both ways, with half-closes. What the other end cannot take at once is kept, and as
 * long nothing more is read: a slow reader holds its writer up, and an idle relay has no buffer. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Relay Relay;

/* Called once from the loop, when both directions have ended or an end is gone; may free it. */
typedef void (*relay_done_t)(Relay *r, void *userdata);

/* Takes both over, also when it fails. */
int relay_new(sd_event *event, int a, int b, relay_done_t done, void *userdata, Relay **ret);
Relay *relay_free(Relay *r);
DEFINE_TRIVIAL_CLEANUP_FUNC(Relay *, relay_free);
