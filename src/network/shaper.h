/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The limit of how fast a VM may receive (of how fast it may send: filter.h).
 *
 * What goes to the VM waits in a token bucket at the TAP (tbf, for at most 50 ms, then it is dropped). Bytes are those of whole
 * frames. A link without a limit has nothing of this. */

#include "network/netlink.h"

#define SHAPER_RATE_MIN UINT64_C(1024) /* bytes a second */

/* In bytes a second, from SHAPER_RATE_MIN, as the VM sees it; UINT64_MAX: no limit. What is so already is left alone, what is
 * not is changed while traffic goes on. -EOPNOTSUPP: the kernel lacks sch_tbf. */
int shaper_set(Netlink *nl, int ifindex, uint64_t receive_max);
