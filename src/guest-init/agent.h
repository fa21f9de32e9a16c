/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The agent: finds its port, reads what the host says and does it. */

#include "guest-init/guest.h"

/* Listens for devices; to be called before any module is loaded. 0 or -errno. */
int agent_listen(Guest *g);

/* Opens the port if it is there already; the device events do it else. */
void agent_find_port(Guest *g);

/* Handles a bounded number of frames. True when there may be more at once. */
bool agent_pump(Guest *g);

/* Writes out what is queued. */
void agent_flush(Guest *g);
