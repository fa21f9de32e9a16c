/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/macro.h"
#include "basic/time-util.h"
#include "shared/audit-flood.h"

static uint64_t now = 1000 * USEC_PER_SEC;

/* How many of n were told. */
static unsigned call(uid_t uid, const char *subject, unsigned n) {
        unsigned told = 0;
        bool begins;

        for (unsigned i = 0; i < n; i++)
                told += audit_flood_allows(uid, subject, now, &begins);
        return told;
}

static void a_flood_is_counted(void **state) {
        assert_int_equal(call(1000, "alice", 3 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        now += USEC_PER_SEC;
        assert_int_equal(audit_flood_missed(1000, "alice", now), 2 * AUDIT_FLOOD_BURST);
        assert_int_equal(call(1000, "alice", 100), AUDIT_FLOOD_PER_SEC);
        assert_int_equal(audit_flood_missed(1000, "alice", now), 0); /* not that often */
        now += AUDIT_FLOOD_TELL;
        assert_int_equal(audit_flood_missed(1000, "alice", now), 100 - AUDIT_FLOOD_PER_SEC);
        assert_int_equal(audit_flood_missed(1000, "alice", now), 0);
}

static void the_first_that_is_missed_is_known_once_in_a_flood(void **state) {
        bool begins;

        assert_int_equal(call(1001, NULL, AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        assert_false(audit_flood_allows(1001, NULL, now, &begins));
        assert_true(begins);
        now += USEC_PER_SEC;
        assert_int_equal(call(1001, NULL, AUDIT_FLOOD_PER_SEC), AUDIT_FLOOD_PER_SEC);
        assert_false(audit_flood_allows(1001, NULL, now, &begins));
        assert_false(begins);
        now += AUDIT_FLOOD_BURST * USEC_PER_SEC / AUDIT_FLOOD_PER_SEC + USEC_PER_SEC;
        assert_int_equal(call(1001, NULL, AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        assert_false(audit_flood_allows(1001, NULL, now, &begins));
        assert_true(begins);
}

static void what_was_begun_is_no_flood(void **state) {
        static const char *const nothing[] = { "org.hero.Compute.Error.NoSuchVM", "org.freedesktop.DBus.Error.AccessDenied", "PermissionDenied" },
                                *const begun[] = { "org.hero.Compute.Error.Canceled", "Canceled", "VMMFailed", "org.freedesktop.DBus.Error.NoReply" };

        for (size_t i = 0; i < ELEMENTSOF(nothing); i++)
                assert_true(audit_flood_is_nothing(nothing[i]));
        for (size_t i = 0; i < ELEMENTSOF(begun); i++)
                assert_false(audit_flood_is_nothing(begun[i]));
}

static void nobody_is_kept_quiet_by_another(void **state) {
        assert_int_equal(call(1002, "a", 2 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        assert_int_equal(call(1002, "b", 5), 5);
        assert_int_equal(call(1003, "a", 5), 5);
}

static void root_is_always_told_and_not_who_speaks_through_a_proxy_of_roots(void **state) {
        assert_int_equal(call(0, "mallory", 2 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        assert_int_equal(call(0, "root", 2 * AUDIT_FLOOD_BURST), 2 * AUDIT_FLOOD_BURST);
}

static void who_was_quiet_may_be_told_again(void **state) {
        assert_int_equal(call(1004, "a", 2 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        now += AUDIT_FLOOD_BURST * USEC_PER_SEC / AUDIT_FLOOD_PER_SEC;
        assert_int_equal(call(1004, "a", 2 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
}

static void many_callers_have_the_places_of_those_that_are_quiet(void **state) {
        assert_int_equal(call(1005, "loud", 2 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        for (unsigned i = 0; i < 500; i++)
                assert_int_equal(call(2000 + i, "", 1), 1);
        assert_int_equal(call(1005, "loud", 1), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_flood_is_counted),
                cmocka_unit_test(the_first_that_is_missed_is_known_once_in_a_flood),
                cmocka_unit_test(what_was_begun_is_no_flood),
                cmocka_unit_test(nobody_is_kept_quiet_by_another),
                cmocka_unit_test(root_is_always_told_and_not_who_speaks_through_a_proxy_of_roots),
                cmocka_unit_test(who_was_quiet_may_be_told_again),
                cmocka_unit_test(many_callers_have_the_places_of_those_that_are_quiet),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
