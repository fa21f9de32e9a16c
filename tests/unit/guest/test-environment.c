/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/strv.h"
#include "guest-init/environment.h"

static User user = { .name = (char *) "alice", .home = (char *) "/home/alice", .shell = (char *) "/bin/sh" };

static void defaults_fill_what_nobody_says(void **state) {
        _cleanup_strv_free_ char **e = NULL;

        assert_int_equal(environment_build(NULL, NULL, &user, NULL, &e), 0);
        assert_string_equal(environment_get(e, "PATH"), DEFAULT_PATH);
        assert_string_equal(environment_get(e, "HOME"), "/home/alice");
        assert_string_equal(environment_get(e, "USER"), "alice");
        assert_null(environment_get(e, "TERM"));
}

static void changes_go_over_the_base(void **state) {
        char *const base[] = { (char *) "A=1", (char *) "B=2", (char *) "HOME=/base", NULL };
        char *const changes[] = { (char *) "B=3", (char *) "C=", (char *) "TERM=vt52", NULL };
        _cleanup_strv_free_ char **e = NULL;

        assert_int_equal(environment_build(base, changes, &user, "xterm", &e), 0);
        assert_string_equal(environment_get(e, "A"), "1");
        assert_string_equal(environment_get(e, "B"), "3");
        assert_string_equal(environment_get(e, "C"), "");
        assert_string_equal(environment_get(e, "HOME"), "/base");
        assert_string_equal(environment_get(e, "TERM"), "vt52");
        assert_string_equal(e[1], "B=3");
}

static void what_is_no_assignment_is_dropped(void **state) {
        char *const base[] = { (char *) "nonsense", (char *) "=x", (char *) "", NULL };
        _cleanup_strv_free_ char **e = NULL;

        assert_int_equal(environment_build(base, NULL, &user, "xterm", &e), 0);
        assert_int_equal(strv_length(e), 6);
}

static void similar_names_are_different(void **state) {
        char *const base[] = { (char *) "PATHS=x", (char *) "PAT=y", NULL };

        assert_null(environment_get(base, "PATH"));
        assert_string_equal(environment_get(base, "PAT"), "y");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(defaults_fill_what_nobody_says),
                cmocka_unit_test(changes_go_over_the_base),
                cmocka_unit_test(what_is_no_assignment_is_dropped),
                cmocka_unit_test(similar_names_are_different),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
