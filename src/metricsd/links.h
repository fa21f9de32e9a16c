/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Counters of all network links of the host by one dump (RTM_GETSTATS), by index. As the host counts. Raw netlink: libnl has no
 * words for this message, which is a sixth of what RTM_GETLINK tells of a link. The kernel answers within the call; it is not waited for. */

#include <stddef.h>

#include "basic/macro.h"

typedef struct LinkCounters {
        int index;
        uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets, rx_dropped, tx_dropped;
} LinkCounters;

typedef struct Links {
        int fd;
        LinkCounters *links; /* by index */
        size_t n, n_allocated;
} Links;

int links_open(Links *l);
void links_close(Links *l);

/* Reads them anew. */
int links_read(Links *l);

const LinkCounters *links_find(const Links *l, int index);

/* The index of a link by its name; -ENODEV. */
int links_index(const Links *l, const char *name);
