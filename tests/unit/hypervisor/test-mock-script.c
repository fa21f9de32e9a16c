/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/mock/mock-script.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "basic/time-util.h"

static void no_script_is_an_empty_one(void **state) {
        static const MockScript empty = {};
        MockScript s;

        assert_int_equal(mock_script_parse(NULL, &s), 0);
        assert_memory_equal(&s, &empty, sizeof(s));
        assert_int_equal(mock_script_parse("", &s), 0);
        assert_memory_equal(&s, &empty, sizeof(s));
}

static void directives_add_up(void **state) {
        MockScript s;

        assert_int_equal(mock_script_parse("boot-failed,exit-after=250,load=350,memory=64M,memory-after=40,console-flood=1K,"
                                           "command-exit=0,command-signal=9,net-echo,save-fails,load-hangs", &s), 0);
        assert_true(s.boot_failed);
        assert_true(s.net_echo);
        assert_true(s.save_fails && s.load_hangs);
        assert_false(s.load_fails || s.save_hangs);
        assert_false(s.die_at_start);
        assert_int_equal(s.exit_after, 250 * USEC_PER_MSEC);
        assert_int_equal(s.load, 350);
        assert_int_equal(s.memory, 64 << 20);
        assert_int_equal(s.memory_after, 40 * USEC_PER_MSEC);
        assert_int_equal(s.console_flood, 1024);
        assert_int_equal(s.command_exit, 1); /* status + 1 */
        assert_int_equal(s.command_signal, 9);
}

static void nonsense_is_refused_and_clobbers_nothing(void **state) {
        static const char *const wrong[] = {
                "unknown",       "die-at-start=1",   "exit-after",       "exit-after=",       "exit-after=0",
                "exit-after=-1", "load=6401",        "load=0",           "load=x",            "memory=99999T",
                "memory-after",  "command-exit=256", "command-signal=0", "command-signal=65",
                ",",             "load=50,",       " load=50",   "exit-after=1e9999", "exit-after=99999999999",
        };
        MockScript s = { .load = 42 };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                if (mock_script_parse(wrong[i], &s) != -EINVAL)
                        fail_msg("\"%s\" was accepted", wrong[i]);
                assert_int_equal(s.load, 42);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_script_is_an_empty_one),
                cmocka_unit_test(directives_add_up),
                cmocka_unit_test(nonsense_is_refused_and_clobbers_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
