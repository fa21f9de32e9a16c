/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which packets wake a sleeping VM. Pure. */

#include "network/packet.h"

#define WAKE_RANGES_MAX 32

typedef struct WakeRange {
        uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
        uint16_t first, last;
} WakeRange;

typedef struct WakePolicy {
        bool ping; /* an echo request wakes */
        unsigned n_ranges;
        WakeRange ranges[WAKE_RANGES_MAX];
} WakePolicy;

/* Words as in "tcp udp", "tcp:22 tcp:8000-8999 udp:53 ping", separated by spaces or commas. "none" alone:
 * nothing wakes it. -EINVAL for anything else, -E2BIG for too many. */
int wake_policy_parse(const char *text, WakePolicy *ret);

/* The text of a policy; NULL when out of memory. */
char *wake_policy_to_string(const WakePolicy *p);

/* TCP and UDP, every port. Ping does not: who looks whether addresses answer shall not wake the house. */
#define WAKE_POLICY_DEFAULT "tcp udp"

/* True when the packet is one that the policy names and that makes sense: of TCP no reset and no combination
 * of flags that only scanners send. Data of a connection that was open before the VM slept does wake it.
 * Middles of fragmented packets do not (they have no port), they only follow. */
bool wake_policy_allows(const WakePolicy *p, const PacketInfo *i) _pure_;
