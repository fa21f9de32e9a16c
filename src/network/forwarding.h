/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Forwarding between links, which VMs need to get anywhere beyond the host. It is the host's setting and not ours: it is only ever
 * switched on, and never off again. */

#include "basic/macro.h"

/* Switches it on for IPv4 and IPv6 where it is off, and says so in the journal. With IPv6 forwarding a link stops heeding routers'
 * advertisements unless its accept_ra is 2: links that heed them now are given that first, so that the host keeps its
 * addresses and its default route. Returns -errno when something could not be set (logged, too): VMs then reach the host only. */
int forwarding_enable(void);
