/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which addresses have connections, as the kernel's connection tracking knows them. One dump for any number of addresses. */

#include "network/address.h"
#include "network/netlink.h"

typedef struct FlowAddress {
        Address address;
        bool open;
} FlowAddress;

/* Sorts the addresses, and marks those from or to which something is open: a TCP connection that is being made, is made or is
 * closed on one side only, or an exchange by UDP or anything else with ports that went on for a while (assured) and is no older
 * than the kernel keeps such. nl is a netlink_open_netfilter() socket. 0 or -errno; nothing is marked then. */
int flows_find(Netlink *nl, FlowAddress *addresses, size_t n);

/* Of what flows_find() has sorted and marked. */
bool flows_is_open(const FlowAddress *addresses, size_t n, const Address *a) _pure_;
