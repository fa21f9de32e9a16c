/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/time-util.h"
#include "shared/audit-flood.h"

static uint64_t now = 1000 * USEC_PER_SEC;

/* How many of n were told. */
static unsigned call(uid_t uid, const char *subject, unsigned n) {
        unsigned told = 0;
        uint64_t missed;

        for (unsigned i = 0; i < n; i++)
                told += audit_flood_allows(uid, subject, now, &missed);
        return told;
}

static void a_flood_is_counted(void **state) {
        uint64_t missed;

        assert_int_equal(call(1000, "alice", 3 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        now += USEC_PER_SEC;
        assert_true(audit_flood_allows(1000, "alice", now, &missed));
        assert_int_equal(missed, 2 * AUDIT_FLOOD_BURST);
        assert_true(audit_flood_allows(1000, "alice", now, &missed));
        assert_int_equal(missed, 0);
        assert_int_equal(call(1000, "alice", 100), AUDIT_FLOOD_PER_SEC - 2);
        assert_false(audit_flood_allows(1000, "alice", now, &missed));
        assert_int_equal(missed, 100 - (AUDIT_FLOOD_PER_SEC - 2) + 1);
}

static void the_first_that_is_missed_is_known(void **state) {
        uint64_t missed;

        assert_int_equal(call(1001, NULL, AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        assert_false(audit_flood_allows(1001, NULL, now, &missed));
        assert_int_equal(missed, 1);
}

static void nobody_is_kept_quiet_by_another(void **state) {
        assert_int_equal(call(1002, "a", 2 * AUDIT_FLOOD_BURST), AUDIT_FLOOD_BURST);
        assert_int_equal(call(1002, "b", 5), 5);
        assert_int_equal(call(1003, "a", 5), 5);
}

static void root_is_always_told(void **state) {
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
                cmocka_unit_test(the_first_that_is_missed_is_known),
                cmocka_unit_test(nobody_is_kept_quiet_by_another),
                cmocka_unit_test(root_is_always_told),
                cmocka_unit_test(who_was_quiet_may_be_told_again),
                cmocka_unit_test(many_callers_have_the_places_of_those_that_are_quiet),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
