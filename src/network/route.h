/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Routes in the main table: one to each VM's address, and one below them all that says at once that nobody is there.
 *
 * All ours have a protocol number and metrics of their own, and only such are removed: what an administrator or
 * another daemon routes stays. (But replacing goes by metric alone: theirs to the same address would have to have
 * just ROUTE_METRIC, which neither the kernel nor a daemon we know uses.) Routes through a link are gone with it. */

#include "network/address.h"
#include "network/netlink.h"

/* rtm_protocol: not one of the kernel's /usr/include/linux/rtnetlink.h nor of iproute2's rt_protos. */
#define ROUTE_PROTOCOL 0x48u
#define ROUTE_METRIC 64u
#define ROUTE_METRIC_COVER 4096u

/* To the address through the link. Replaces ours that leads elsewhere in one step: at no time is there none.
 * -ENODEV, -ENETDOWN: link gone or down. */
int route_set(Netlink *nl, const Address *to, int ifindex);
/* Only while it leads through the link (0: whichever). It is no error that there is none. */
int route_remove(Netlink *nl, const Address *to, int ifindex);

/* "unreachable": what is for nobody gets an answer instead of going round. -EEXIST when there is one of another's
 * with the same metric; ours there already is no error. */
int route_cover(Netlink *nl, const Subnet *s);
int route_uncover(Netlink *nl, const Subnet *s); /* it is no error that there is none */

typedef struct Route {
        Subnet to;
        int ifindex; /* 0: a cover */
} Route;

/* All ours, for the caller to free(). -EAGAIN: routes changed faster than they could be read. */
int route_list(Netlink *nl, Route **ret, size_t *ret_n);
