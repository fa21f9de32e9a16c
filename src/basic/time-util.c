/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/time-util.h"

#include <inttypes.h>
#include <stdio.h>

uint64_t now_usec(clockid_t clock) {
        struct timespec ts;

        if (clock_gettime(clock, &ts) < 0)
                return 0;
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / NSEC_PER_USEC;
}

char *format_timestamp(char buf[static FORMAT_TIMESTAMP_MAX], uint64_t realtime_usec) {
        time_t t = (time_t) (realtime_usec / USEC_PER_SEC);
        struct tm tm;

        if (realtime_usec == 0 || !gmtime_r(&t, &tm) ||
            strftime(buf, FORMAT_TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                buf[0] = 0;
        return buf;
}

char *format_timespan(char buf[static FORMAT_TIMESPAN_MAX], uint64_t usec) {
        uint64_t s = usec / USEC_PER_SEC;

        if (usec == USEC_INFINITY)
                snprintf(buf, FORMAT_TIMESPAN_MAX, "infinity");
        else if (usec < USEC_PER_MSEC)
                snprintf(buf, FORMAT_TIMESPAN_MAX, "%" PRIu64 "us", usec);
        else if (usec < USEC_PER_SEC)
                snprintf(buf, FORMAT_TIMESPAN_MAX, "%" PRIu64 "ms", usec / USEC_PER_MSEC);
        else if (s < 60)
                snprintf(buf, FORMAT_TIMESPAN_MAX, "%.1fs", (double) usec / USEC_PER_SEC);
        else if (s < 3600)
                snprintf(buf, FORMAT_TIMESPAN_MAX, "%" PRIu64 "min %" PRIu64 "s", s / 60, s % 60);
        else if (s < 86400)
                snprintf(buf, FORMAT_TIMESPAN_MAX, "%" PRIu64 "h %" PRIu64 "min", s / 3600, s / 60 % 60);
        else
                snprintf(buf, FORMAT_TIMESPAN_MAX, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s / 3600 % 24);
        return buf;
}

char *format_bytes(char buf[static FORMAT_BYTES_MAX], uint64_t bytes) {
        static const char units[] = "BKMGTPE";
        double v = (double) bytes;
        size_t u = 0;

        while (v >= 1024 && units[u + 1]) {
                v /= 1024;
                u++;
        }
        if (u == 0 || v == (double) (uint64_t) v)
                snprintf(buf, FORMAT_BYTES_MAX, "%" PRIu64 "%c", (uint64_t) v, units[u]);
        else
                snprintf(buf, FORMAT_BYTES_MAX, "%.1f%c", v, units[u]);
        return buf;
}
