/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The packet filter of the VMs: the nftables table `inet hero-compute`, ours alone, in the network namespace
 * of the moment.
 *
 * What it enforces, for the TAPs it was told of and for nothing else:
 *   - a VM speaks with its own addresses only (checked before connection tracking; a fragment's, too), and
 *     beside that nothing but neighbour discovery, with a limit, so that nobody fills the host's neighbours;
 *   - VMs reach each other, awake or asleep, only when they have the same owner;
 *   - the metadata addresses of clouds, and link-local addresses beyond the gateway, are out of reach;
 *   - what a VM sends beyond its limit is dropped: IPv4 and IPv6 of one TAP together, to wherever;
 *   - IPv4 leaves the host under the host's address (masquerade).
 * Packets of anything else pass through untouched. A foreign table that drops forwarded packets cannot be
 * overruled by a table of ours (a drop in any is a drop); filter_obstacles() names those.
 *
 * The table outlives the daemon: VMs stay filtered while it restarts. What was there before is replaced by
 * filter_install() in one transaction; every change after it is one, too. So a TAP is never half there. */

#include <netinet/in.h>

#include "basic/macro.h"

#define FILTER_TABLE "hero-compute"

/* VMs of one owner that can reach each other: every pair of them is an element of a set. */
#define FILTER_OWNER_TAPS_MAX 64

/* In bytes. The burst is more than the largest packet (what segmentation offload puts together), which would
 * never pass otherwise. The other is more than any VM sends in a second: the kernel counts nanoseconds times
 * bytes in 64 bits. */
#define FILTER_TRANSMIT_BURST (UINT64_C(128) << 10)
#define FILTER_TRANSMIT_MAX (UINT64_C(16) << 30)

typedef struct Filter Filter;

typedef struct FilterTap {
        const char *tap;          /* the interface's name */
        const char *owner;        /* user id; NULL: nobody's, and so not to be reached from any other VM */
        struct in6_addr address6; /* unspecified: none */
        struct in_addr address4;  /* 0.0.0.0: none */
        uint64_t transmit_max;    /* bytes of IP packets a second; UINT64_MAX or 0: no limit */
} FilterTap;

/* Nothing in the kernel changes. -EPERM, -EOPNOTSUPP (no nf_tables), -ELIBBAD (no libnftables). */
int filter_new(Filter **ret);

/* The table stays. */
Filter *filter_free(Filter *f);
DEFINE_TRIVIAL_CLEANUP_FUNC(Filter *, filter_free);

/* Writes the whole table, in place of one that is there, with all TAPs known. At start, after the TAPs of
 * adopted VMs were added; and whenever filter_dispatch() or filter_check() say that it is not what it should
 * be. */
int filter_install(Filter *f);

/* Takes the table away, and forgets nothing. */
int filter_uninstall(Filter *f);

/* Lets a TAP in. To be called before the interface is up: one that is not known here is not filtered. Before
 * the first filter_install() it is only remembered, so adopting 1,000 VMs is one transaction. -EEXIST: the
 * TAP is known; -EADDRINUSE: another one has the address; -EINVAL: not a name or address of a VM; -E2BIG:
 * more than FILTER_OWNER_TAPS_MAX of one owner. On failure nothing has changed. If somebody else took the
 * table away, it is installed anew. */
int filter_add(Filter *f, const FilterTap *tap);

/* Changes transmit_max of a TAP in one transaction; what is so already is left alone. The kernel lets a
 * second's worth and FILTER_TRANSMIT_BURST more pass at once, and begins anew with every change and
 * filter_install(). It can count to FILTER_TRANSMIT_MAX, and what is more is taken as that. -ENOENT: no such
 * TAP. On failure the limit is what it was. If somebody else took the table away, it is installed anew. */
int filter_set_transmit_max(Filter *f, const char *tap, uint64_t transmit_max);

/* To be called when the interface is gone or down. Unknown is success. When the kernel refuses, the TAP is
 * forgotten all the same and the next filter_install() is without it. */
int filter_remove(Filter *f, const char *tap);

/* Readable when the rulesets of this namespace were changed; then call filter_dispatch(). */
int filter_fd(const Filter *f);

/* 1: somebody else changed our table (as `nft flush ruleset` does), call filter_install(); 0: nobody did;
 * -errno. */
int filter_dispatch(Filter *f);

/* Compares the table with what it should be: 1 it is, 0 it is not (or not there), -errno. Reads the whole
 * table: for a check now and then and for diagnosis. */
int filter_check(Filter *f);

/* Forward chains of others that drop what they do not know, and the rules of their table do not let through what
 * is from TAPs (iifname "tap-*"), to TAPs and to sleeping VMs (oifname "tap-*", "hero-wake"): one "FAMILY TABLE
 * CHAIN" each (firewalld, Docker, ufw). *ret is a strv, NULL when there is none. For diagnosis; what is decided
 * behind jumps is not followed. */
int filter_obstacles(Filter *f, char ***ret);

/* What was wrong in words, one line, after one of the above failed. */
const char *filter_error(const Filter *f);
