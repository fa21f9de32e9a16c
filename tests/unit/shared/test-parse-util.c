/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/parse-util.h"
#include "basic/time-util.h"

#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

typedef struct Case {
        const char *text;
        int r;
        uint64_t value;
} Case;

static void check(int (*parse)(const char *s, uint64_t *ret), const Case *cases) {
        for (const Case *c = cases; c->text; c++) {
                uint64_t v = UNTOUCHED;
                int r = parse(c->text, &v);

                if (r != c->r || v != (r < 0 ? UNTOUCHED : c->value))
                        fail_msg("\"%s\" gave %i and %llu", c->text, r, (unsigned long long) v);
        }
}

static void size_with_suffix_is_base_1024(void **state) {
        check(parse_size, (const Case[]) {
                                  { "0", 0, 0 },
                                  { "1", 0, 1 },
                                  { "1K", 0, 1024 },
                                  { "1k", 0, 1024 },
                                  { "1KiB", 0, 1024 },
                                  { "512M", 0, UINT64_C(512) << 20 },
                                  { "1.5G", 0, UINT64_C(3) << 29 },
                                  { "2T", 0, UINT64_C(2) << 40 },
                                  { "4096B", 0, 4096 },
                                  { "18446744073709551615", 0, UINT64_MAX },
                                  {},
                          });
}

static void what_is_no_size_is_refused_and_changes_nothing(void **state) {
        check(parse_size, (const Case[]) {
                                  { "", -EINVAL, 0 },
                                  { "M", -EINVAL, 0 },
                                  { "-1", -EINVAL, 0 },
                                  { "+1", -EINVAL, 0 },
                                  { " 1", -EINVAL, 0 },
                                  { "1 M", -EINVAL, 0 },
                                  { "1MM", -EINVAL, 0 },
                                  { "1M ", -EINVAL, 0 },
                                  { "1.", -EINVAL, 0 },
                                  { ".5M", -EINVAL, 0 },
                                  { "1e3", -EINVAL, 0 },
                                  { "0x10", -EINVAL, 0 },
                                  { "1,5G", -EINVAL, 0 },
                                  { "nan", -EINVAL, 0 },
                                  { "inf", -EINVAL, 0 },
                                  { "18446744073709551616", -ERANGE, 0 },
                                  { "16777216T", -ERANGE, 0 },
                                  { "99999999999999999999999999P", -ERANGE, 0 },
                                  {},
                          });
}

static void times_add_up_and_a_plain_number_is_seconds(void **state) {
        check(parse_usec, (const Case[]) {
                                  { "90", 0, 90 * USEC_PER_SEC },
                                  { "90s", 0, 90 * USEC_PER_SEC },
                                  { "5min", 0, 300 * USEC_PER_SEC },
                                  { "1h 30min", 0, 5400 * USEC_PER_SEC },
                                  { "1h30min", 0, 5400 * USEC_PER_SEC },
                                  { "200ms", 0, 200 * USEC_PER_MSEC },
                                  { "1.5s", 0, 1500 * USEC_PER_MSEC },
                                  { "7us", 0, 7 },
                                  { "2 days", 0, 172800 * USEC_PER_SEC },
                                  { " 3 sec ", 0, 3 * USEC_PER_SEC },
                                  { "infinity", 0, UINT64_MAX },
                                  { "0", 0, 0 },
                                  {},
                          });
}

static void what_is_no_time_is_refused_and_changes_nothing(void **state) {
        check(parse_usec, (const Case[]) {
                                  { "", -EINVAL, 0 },
                                  { " ", -EINVAL, 0 },
                                  { "s", -EINVAL, 0 },
                                  { "-5s", -EINVAL, 0 },
                                  { "5 parsecs", -EINVAL, 0 },
                                  { "5s,", -EINVAL, 0 },
                                  { "infinity s", -EINVAL, 0 },
                                  { "9999999999999999999999", -ERANGE, 0 },
                                  { "999999999999 days", -ERANGE, 0 },
                                  {},
                          });
}

static void numbers_are_whole_decimal_and_in_range(void **state) {
        unsigned u = 7;

        check(parse_uint64, (const Case[]) {
                                    { "0", 0, 0 },
                                    { "18446744073709551615", 0, UINT64_MAX },
                                    { "18446744073709551616", -ERANGE, 0 },
                                    { "", -EINVAL, 0 },
                                    { "-1", -EINVAL, 0 },
                                    { " 1", -EINVAL, 0 },
                                    { "1x", -EINVAL, 0 },
                                    {},
                            });
        assert_int_equal(parse_uint("11", 10, &u), -ERANGE);
        assert_int_equal(u, 7);
        assert_int_equal(parse_uint("10", 10, &u), 0);
        assert_int_equal(u, 10);
}

static void booleans_have_many_words(void **state) {
        const char *const yes[] = { "1", "yes", "YES", "y", "true", "t", "on" }, *const no[] = { "0", "no", "n", "False", "f", "off" },
                          *const neither[] = { "", "2", "yess", " yes", "maybe" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++)
                assert_int_equal(parse_boolean(yes[i]), 1);
        for (size_t i = 0; i < ELEMENTSOF(no); i++)
                assert_int_equal(parse_boolean(no[i]), 0);
        for (size_t i = 0; i < ELEMENTSOF(neither); i++)
                assert_int_equal(parse_boolean(neither[i]), -EINVAL);
}

static void a_decimal_has_a_point_whatever_the_locale(void **state) {
        double d = -1;

        assert_int_equal(parse_double("4.25", &d), 0);
        assert_true(d == 4.25);
        assert_int_equal(parse_double("4,25", &d), -EINVAL);
        assert_int_equal(parse_double("4.", &d), -EINVAL);
        assert_int_equal(parse_double("-4", &d), -EINVAL);
        assert_true(d == 4.25);
}

static void what_is_formatted_for_people_is_short(void **state) {
        char t[FORMAT_TIMESPAN_MAX], b[FORMAT_BYTES_MAX];

        assert_string_equal(format_timespan(t, 12 * USEC_PER_MSEC), "12ms");
        assert_string_equal(format_timespan(t, 1500 * USEC_PER_MSEC), "1.5s");
        assert_string_equal(format_timespan(t, 3900 * USEC_PER_SEC), "1h 5min");
        assert_string_equal(format_timespan(t, USEC_INFINITY), "infinity");
        assert_string_equal(format_bytes(b, 0), "0B");
        assert_string_equal(format_bytes(b, UINT64_C(512) << 20), "512M");
        assert_string_equal(format_bytes(b, UINT64_C(3) << 29), "1.5G");
        assert_true(strlen(format_bytes(b, UINT64_MAX)) < FORMAT_BYTES_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(size_with_suffix_is_base_1024),
                cmocka_unit_test(what_is_no_size_is_refused_and_changes_nothing),
                cmocka_unit_test(times_add_up_and_a_plain_number_is_seconds),
                cmocka_unit_test(what_is_no_time_is_refused_and_changes_nothing),
                cmocka_unit_test(numbers_are_whole_decimal_and_in_range),
                cmocka_unit_test(booleans_have_many_words),
                cmocka_unit_test(a_decimal_has_a_point_whatever_the_locale),
                cmocka_unit_test(what_is_formatted_for_people_is_short),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
