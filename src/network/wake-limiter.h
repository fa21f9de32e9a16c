/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How often VMs may be woken: by one source, and by all of them. A token bucket each; sources that did
 * nothing for the longest are forgotten when there are too many. Pure: the time is given. */

#include <netinet/in.h>

#include "basic/macro.h"

typedef struct WakeLimiter WakeLimiter;

/* burst wakes at once, and one more every interval (µs). */
typedef struct WakeRate {
        unsigned burst;
        uint64_t interval;
} WakeRate;

/* -EINVAL for a burst or number of sources of 0. */
int wake_limiter_new(WakeRate per_source, WakeRate total, unsigned sources_max, WakeLimiter **ret);
WakeLimiter *wake_limiter_free(WakeLimiter *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(WakeLimiter *, wake_limiter_free);

/* Whether that source may wake a VM now; if so, it is counted. A source is an IPv4 address, or the /64 of an
 * IPv6 address: within it, everybody has as many addresses as he likes. exact: the address itself, for those
 * that are given out here. When memory runs out, nobody may. */
bool wake_limiter_take(WakeLimiter *l, const struct in6_addr *source, bool exact, uint64_t now);
