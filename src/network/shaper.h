/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Limits of how fast a VM may receive and send.
 *
 * What goes to the VM waits in a token bucket at the TAP (tbf, for at most 50 ms, then it is dropped); what comes from it
 * cannot be made to wait on our side and is dropped beyond its rate (an ingress qdisc with a police action). Bytes are those of
 * whole frames. A link without limits has nothing of this. */

#include "network/netlink.h"

#define SHAPER_RATE_MIN UINT64_C(1024) /* bytes a second */

/* In bytes a second, from SHAPER_RATE_MIN, as the VM sees it; UINT64_MAX: no limit. What is so already is left alone, what is
 * not is changed while traffic goes on. -EOPNOTSUPP: the kernel lacks sch_tbf, or one of sch_ingress, cls_matchall and
 * act_police; netlink_error_text() may say which. Then what it does not lack is set, and the other direction has no limit. */
int shaper_set(Netlink *nl, int ifindex, uint64_t receive_max, uint64_t transmit_max);
