/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Points in time, as people write them. */

#include "basic/macro.h"

/* "2026-11-21 12:00[:00]", "2026-11-21" or "12:00" (local time), "2026-11-21T11:00:00Z" (UTC), "@SECONDS", "now", "today",
 * "yesterday", and a time span before now: "1h", "30min ago". All CLOCK_REALTIME. -EINVAL, -ERANGE. */
int time_text_parse(const char *s, uint64_t now, uint64_t *ret);
