/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A Unix socket for each VM whose console was asked for: whoever may, by the credentials of his process, gets the console there. It
 * goes with the VM, and when nobody used it for a while. */

#include "rpcd/feed.h"
#include "rpcd/replica.h"

typedef struct Consoles Consoles;

/* In $RUNTIME_DIRECTORY (else /run/hero-rpcd)/console, of which sockets from before are removed when the first is made. */
int consoles_new(Rpcd *d, Feed *feed, Consoles **ret);
Consoles *consoles_free(Consoles *s);

/* Makes the VM's socket, or keeps it for longer. *ret: its path, valid until the loop runs. -EDQUOT: there are too many. */
int consoles_open(Consoles *s, const ReplicaVm *vm, const char **ret);
