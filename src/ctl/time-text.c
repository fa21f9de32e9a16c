/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/time-text.h"

#include <stdio.h>
#include <time.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

static int from_seconds(time_t t, uint64_t *ret) {
        if (t < 0)
                return -ERANGE;
        *ret = (uint64_t) t * USEC_PER_SEC;
        return 0;
}

/* The beginning of a day, so many days from today. */
static int from_day(uint64_t now, int days, uint64_t *ret) {
        time_t t = (time_t) (now / USEC_PER_SEC);
        struct tm tm;

        if (!localtime_r(&t, &tm))
                return -ERANGE;
        tm.tm_mday += days;
        tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
        tm.tm_isdst = -1;
        return from_seconds(mktime(&tm), ret);
}

static int from_calendar(const char *s, uint64_t now, uint64_t *ret) {
        static const struct {
                const char *format;
                bool utc, today;
        } formats[] = {
                { "%Y-%m-%dT%H:%M:%SZ", .utc = true }, { "%Y-%m-%d %H:%M:%S" }, { "%Y-%m-%d %H:%M" },   { "%Y-%m-%d" },
                { "%H:%M:%S", .today = true },         { "%H:%M", .today = true },
        };
        time_t t = (time_t) (now / USEC_PER_SEC);

        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                struct tm tm = {};
                const char *end;

                if (formats[i].today && !localtime_r(&t, &tm))
                        return -ERANGE;
                tm.tm_sec = 0;
                end = strptime(s, formats[i].format, &tm);
                if (!end || *end)
                        continue;
                tm.tm_isdst = -1;
                return from_seconds(formats[i].utc ? timegm(&tm) : mktime(&tm), ret);
        }
        return -EINVAL;
}

static int from_span(const char *s, uint64_t now, uint64_t *ret) {
        _cleanup_free_ char *copy = strdup(s[0] == '-' ? s + 1 : s);
        uint64_t span;
        char *ago;
        int r;

        if (!copy)
                return -ENOMEM;
        ago = strstr(copy, " ago");
        if (ago && !ago[4])
                *ago = 0;
        r = parse_usec(copy, &span);
        if (r < 0)
                return r;
        *ret = span < now ? now - span : 0;
        return 0;
}

int time_text_parse(const char *s, uint64_t now, uint64_t *ret) {
        uint64_t seconds;

        if (streq(s, "now")) {
                *ret = now;
                return 0;
        }
        if (streq(s, "today") || streq(s, "yesterday"))
                return from_day(now, streq(s, "today") ? 0 : -1, ret);
        if (s[0] == '@') {
                if (parse_uint64(s + 1, &seconds) < 0 || seconds > (uint64_t) INT64_MAX / USEC_PER_SEC)
                        return -EINVAL;
                *ret = seconds * USEC_PER_SEC;
                return 0;
        }
        return from_calendar(s, now, ret) >= 0 ? 0 : from_span(s, now, ret);
}
