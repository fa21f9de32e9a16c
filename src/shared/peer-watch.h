/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tells when a connection leaves the bus. As sd_bus_track, which asks the bus synchronously, but does not. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct PeerWatch PeerWatch;

/* gone() is called once, also when the connection had left before; it may free the watch. */
typedef void (*peer_gone_t)(void *userdata);

int peer_watch_new(sd_bus *bus, const char *unique_name, peer_gone_t gone, void *userdata, PeerWatch **ret);
PeerWatch *peer_watch_free(PeerWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(PeerWatch *, peer_watch_free);
