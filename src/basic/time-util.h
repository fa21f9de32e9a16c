/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time is uint64_t microseconds everywhere. Deadlines and durations are CLOCK_BOOTTIME or _MONOTONIC;
 * CLOCK_REALTIME is for people. */

#include <time.h>

#include "basic/macro.h"

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)
#define USEC_INFINITY UINT64_MAX

uint64_t now_usec(clockid_t clock);

/* "2026-11-21T11:20:12Z" (RFC 3339, UTC) into a buffer of at least FORMAT_TIMESTAMP_MAX; "" for 0. */
#define FORMAT_TIMESTAMP_MAX 32
char *format_timestamp(char buf[static FORMAT_TIMESTAMP_MAX], uint64_t realtime_usec);

/* "1h 5min", "3.2s", "12ms" for people, into a buffer of at least FORMAT_TIMESPAN_MAX. */
#define FORMAT_TIMESPAN_MAX 32
char *format_timespan(char buf[static FORMAT_TIMESPAN_MAX], uint64_t usec);

/* "512M", "1.5G" for people, into a buffer of at least FORMAT_BYTES_MAX. */
#define FORMAT_BYTES_MAX 16
char *format_bytes(char buf[static FORMAT_BYTES_MAX], uint64_t bytes);
