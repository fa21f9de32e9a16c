/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who calls for ever what he may not would fill the journal, and past its rate limit (RateLimitBurst= of journald.conf, 10,000 entries
 * in 30 s) drop what others did. So of calls that were turned away before anything was begun only the first AUDIT_FLOOD_BURST of a
 * caller are told one by one, and AUDIT_FLOOD_PER_SEC a second from then on; the others are counted. What was done, or begun and came
 * to nothing, is always told, and so is whatever root does. */

#include <sys/types.h>

#include "basic/macro.h"
#include "basic/time-util.h"

#define AUDIT_FLOOD_BURST 1000u
#define AUDIT_FLOOD_PER_SEC 10u

/* Whether an error (a name, with or without what it begins with on the bus) says that nothing was begun. */
bool audit_flood_is_nothing(const char *error) _pure_;

/* Whether a call that was turned away is told. subject may be NULL; now: CLOCK_MONOTONIC. *ret_begins: it is the first that is not, which
 * is worth a word. */
bool audit_flood_allows(uid_t uid, const char *subject, uint64_t now, bool *ret_begins);

/* How many were not told since this was asked; not more often than every AUDIT_FLOOD_TELL, in between it is 0. */
#define AUDIT_FLOOD_TELL (10 * USEC_PER_SEC)
uint64_t audit_flood_missed(uid_t uid, const char *subject, uint64_t now);
