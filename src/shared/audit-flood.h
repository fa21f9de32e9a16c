/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who calls for ever what he may not would fill the journal, and past its rate limit (RateLimitBurst= of journald.conf, 10,000 entries
 * in 30 s) drop what others did. So of calls that came to nothing only the first AUDIT_FLOOD_BURST of a caller are told one by one,
 * and AUDIT_FLOOD_PER_SEC a second from then on; the others are counted. What was done is always told, and so is whatever root does. */

#include <sys/types.h>

#include "basic/macro.h"

#define AUDIT_FLOOD_BURST 1000u
#define AUDIT_FLOOD_PER_SEC 10u

/* Whether a call that came to nothing is told. subject may be NULL; now: CLOCK_MONOTONIC. *ret_missed: how many were not told since the
 * last that was; in false: 1, the first of them is worth a word. */
bool audit_flood_allows(uid_t uid, const char *subject, uint64_t now, uint64_t *ret_missed);
