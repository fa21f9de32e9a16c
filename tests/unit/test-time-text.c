/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "basic/macro.h"
#include "basic/time-util.h"
#include "ctl/time-text.h"

#define NOON (UINT64_C(1795262400) * USEC_PER_SEC) /* 2026-11-21T12:00:00Z */
#define HOUR (3600 * USEC_PER_SEC)
#define NOW (NOON + 90 * USEC_PER_SEC)

typedef struct Case {
        const char *text;
        uint64_t time;
} Case;

static void check(const Case *cases, size_t n) {
        for (size_t i = 0; i < n; i++) {
                uint64_t t = 0;
                int r = time_text_parse(cases[i].text, NOW, &t);

                if (r < 0 || t != cases[i].time)
                        fail_msg("'%s' is %llu: %d", cases[i].text, (unsigned long long) t, r);
        }
}

static void times_are_local_unless_they_say_utc(void **state) {
        static const Case utc[] = {
                { "2026-11-21 12:00:00", NOON }, { "2026-11-21 12:00", NOON },      { "2026-11-21", NOON - 12 * HOUR },
                { "12:00", NOON },               { "11:00:07", NOON - HOUR + 7000000 }, { "2026-11-21T12:00:00Z", NOON },
                { "today", NOON - 12 * HOUR },   { "yesterday", NOON - 36 * HOUR },
        };
        static const Case there[] = {
                { "2026-11-21 13:00", NOON }, { "13:00", NOON }, { "2026-11-21T12:00:00Z", NOON }, { "today", NOON - 13 * HOUR },
        };

        assert_int_equal(setenv("TZ", "UTC", true), 0);
        tzset();
        check(utc, ELEMENTSOF(utc));
        assert_int_equal(setenv("TZ", "CET-1", true), 0);
        tzset();
        check(there, ELEMENTSOF(there));
}

static void spans_are_before_now(void **state) {
        static const Case cases[] = {
                { "now", NOW },           { "90", NOON },           { "1h", NOW - HOUR },     { "30min ago", NOW - HOUR / 2 },
                { "-2h", NOW - 2 * HOUR }, { "@1795262400", NOON }, { "infinity", 0 },
        };

        check(cases, ELEMENTSOF(cases));
}

static void what_is_no_time_is_refused(void **state) {
        static const char *const texts[] = { "",        "soon",       "2026-13-01", "25:00",   "12:00 x",    "@",     "@-1", "@99999999999999999",
                                             "1h later", "ago",        " ago",       "2026-11-21T12:00:00", "1969-01-01" };
        uint64_t t;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (time_text_parse(texts[i], NOW, &t) >= 0)
                        fail_msg("'%s' is taken for a time", texts[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(times_are_local_unless_they_say_utc),
                cmocka_unit_test(spans_are_before_now),
                cmocka_unit_test(what_is_no_time_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
