/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "guest-init/user.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
                             "# a comment\n"
                             "alice:x:1000:1000:Alice,,,:/home/alice:/bin/zsh\n"
                             "broken line\n"
                             "minus:x:-1:0::/:/bin/sh\n"
                             "4242:x:7:7:a name of digits:/seven:\n"
                             "last:x:1001:100::/home/last:/bin/sh";
static const char group[] = "root:x:0:\nwheel:x:10:bob,alice\nmalice:x:11:malice,bob\nalice:x:1000:\nvideo:x:44:alice\n";

static void root_is_the_default(void **state) {
        const char *const specs[] = { NULL, "", "root", "0" };

        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                User u;

                assert_int_equal(user_parse(passwd, group, specs[i], &u), 0);
                assert_int_equal(u.uid, 0);
                assert_string_equal(u.name, "root");
                assert_string_equal(u.home, "/root");
                assert_string_equal(u.shell, "/bin/bash");
                assert_int_equal(u.n_groups, 1);
                user_done(&u);
        }
}

static void root_needs_no_files(void **state) {
        User u;

        assert_int_equal(user_parse(NULL, NULL, "root", &u), 0);
        assert_int_equal(u.uid, 0);
        assert_string_equal(u.home, "/"); /* an image without the file hardly has a /root */
        assert_string_equal(u.shell, "/bin/sh");
        user_done(&u);
}

static void name_brings_its_groups(void **state) {
        User u;

        assert_int_equal(user_parse(passwd, group, "alice", &u), 0);
        assert_int_equal(u.uid, 1000);
        assert_int_equal(u.gid, 1000);
        assert_string_equal(u.home, "/home/alice");
        assert_int_equal(u.n_groups, 3);
        assert_int_equal(u.groups[0], 1000);
        assert_int_equal(u.groups[1], 10);
        assert_int_equal(u.groups[2], 44);
        user_done(&u);
}

static void group_given_replaces_the_others(void **state) {
        User u;

        assert_int_equal(user_parse(passwd, group, "alice:wheel", &u), 0);
        assert_int_equal(u.gid, 10);
        assert_int_equal(u.n_groups, 1);
        assert_int_equal(u.groups[0], 10);
        user_done(&u);

        assert_int_equal(user_parse(passwd, group, "1000:4711", &u), 0);
        assert_string_equal(u.name, "alice");
        assert_int_equal(u.gid, 4711);
        user_done(&u);
}

static void number_needs_no_entry(void **state) {
        User u;

        assert_int_equal(user_parse(passwd, group, "4711", &u), 0);
        assert_int_equal(u.uid, 4711);
        assert_int_equal(u.gid, 0);
        assert_null(u.name);
        assert_string_equal(u.home, "/");
        user_done(&u);
}

static void name_goes_before_number(void **state) {
        User u;

        assert_int_equal(user_parse(passwd, group, "4242", &u), 0);
        assert_int_equal(u.uid, 7);
        assert_string_equal(u.home, "/seven");
        assert_string_equal(u.shell, "/bin/sh");
        user_done(&u);
}

static void last_line_needs_no_end(void **state) {
        User u;

        assert_int_equal(user_parse(passwd, group, "last", &u), 0);
        assert_int_equal(u.uid, 1001);
        assert_int_equal(u.gid, 100);
        user_done(&u);
}

static void what_is_not_there_is_refused(void **state) {
        User u;

        assert_int_equal(user_parse(passwd, group, "bob", &u), -ESRCH);
        assert_int_equal(user_parse(passwd, group, "minus", &u), -ESRCH);
        assert_int_equal(user_parse(passwd, group, "broken line", &u), -ESRCH);
        assert_int_equal(user_parse(passwd, group, "4294967295", &u), -ESRCH); /* (uid_t) -1 */
        assert_int_equal(user_parse(passwd, group, "alice:nothing", &u), -ENOMSG);
        assert_int_equal(user_parse(passwd, group, "alice:4294967295", &u), -ENOMSG);
        assert_int_equal(user_parse(passwd, group, "../../etc", &u), -ESRCH);
}

static void groups_are_bounded(void **state) {
        char *many, *p;
        User u;

        p = many = malloc(100000);
        assert_non_null(many);
        for (unsigned i = 0; i < 2000; i++)
                p += sprintf(p, "g%u:x:%u:alice\n", i, 5000 + i);
        assert_int_equal(user_parse(passwd, many, "alice", &u), 0);
        assert_int_equal(u.n_groups, USER_GROUPS_MAX);
        user_done(&u);
        free(many);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(root_is_the_default),
                cmocka_unit_test(root_needs_no_files),
                cmocka_unit_test(name_brings_its_groups),
                cmocka_unit_test(group_given_replaces_the_others),
                cmocka_unit_test(number_needs_no_entry),
                cmocka_unit_test(name_goes_before_number),
                cmocka_unit_test(last_line_needs_no_end),
                cmocka_unit_test(what_is_not_there_is_refused),
                cmocka_unit_test(groups_are_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
