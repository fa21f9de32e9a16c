/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Links by number or name: what one is, its addresses, its settings below /proc/sys/net, and the counters of all of
 * them. Functions return 0 or -errno; a link that is not there is -ENODEV. */

#include <net/if.h>

#include "network/address.h"
#include "network/netlink.h"

typedef struct Link {
        char name[IFNAMSIZ];
        char kind[16]; /* "tun", "veth", …; "" for hardware and lo */
        int ifindex;
        unsigned short type; /* ARPHRD_… */
        bool up;
        unsigned mtu;
} Link;

int link_find(Netlink *nl, const char *name, Link *ret);

/* All links of a kind, for the caller to free(). Those that come and go meanwhile may be in it or not. */
int link_list(Netlink *nl, const char *kind, Link **ret, size_t *ret_n);

/* What is 0 or NULL stays as it is. */
typedef struct LinkChange {
        unsigned mtu;
        const uint8_t *mac; /* 6 bytes */
        bool no_link_local; /* no IPv6 address of the kernel's own making when it comes up */
        bool up;
} LinkChange;

int link_change(Netlink *nl, int ifindex, const LinkChange *c);
int link_remove(Netlink *nl, int ifindex);

/* Without duplicate address detection; of link scope when it is a link-local one. -EEXIST when it has it. */
int link_add_address(Netlink *nl, int ifindex, const Address *a, unsigned prefix);

/* /proc/sys/net/<family>/conf/<link>/<setting>. Writes only what is not so already, as /proc/sys may be read-only.
 * -ENOENT: no such link or setting. */
int link_set_sysctl(const char *link, const char *family, const char *setting, unsigned value);

/* As the host sees it: received is what a VM sent. */
typedef struct LinkCounters {
        int ifindex;
        uint64_t received_bytes, received_packets;
        uint64_t sent_bytes, sent_packets;
        uint64_t sent_dropped; /* did not fit into the queue towards the VM */
} LinkCounters;

/* The counters of all links in one dump, by rising ifindex, for the caller to free(). A link that comes or goes
 * meanwhile may be in it or not; all others are. -EAGAIN: links changed faster than they could be read. */
int link_counters(Netlink *nl, LinkCounters **ret, size_t *ret_n);
int link_counters_of(Netlink *nl, int ifindex, LinkCounters *ret);
const LinkCounters *link_counters_find(const LinkCounters *c, size_t n, int ifindex); /* NULL: not among them */
