/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "metricsd/metrics-config.h"

static char heard[1024];

static void problem(const char *sentence, void *userdata) {
        size_t n = strlen(heard);

        snprintf(heard + n, sizeof(heard) - n, "%s\n", sentence);
}

static MetricsConfig load(const char *environment, const char *text) {
        char directory[] = "/tmp/test-metrics-XXXXXX", path[64];
        const char *const roots[] = { directory, NULL };
        MetricsConfig c;
        int fd;

        heard[0] = 0;
        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/metrics.conf", directory);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        safe_close(fd);
        metrics_config_defaults(&c, environment, problem, NULL);
        assert_true(metrics_config_load(&c, roots, problem) >= 0);
        assert_int_equal(remove_tree_at(AT_FDCWD, directory), 0);
        return c;
}

static void the_defaults_are_documented_ones(void **state) {
        MetricsConfig c = load(NULL, "");

        assert_int_equal(c.interval, 5 * USEC_PER_SEC);
        assert_int_equal(c.space_max, 1 << 30);
        assert_string_equal(heard, "");
}

static void the_seeds_variable_holds_where_no_file_says_otherwise(void **state) {
        assert_int_equal(load("15", "").interval, 15 * USEC_PER_SEC);
        assert_int_equal(load("2.5", "").interval, 2500000);
        assert_int_equal(load("", "").interval, 5 * USEC_PER_SEC);
        assert_int_equal(load("15", "[Metrics]\nInterval=2s\n").interval, 2 * USEC_PER_SEC);
        assert_string_equal(heard, "");
}

static void what_cannot_be_is_told_and_ignored(void **state) {
        static const char *const bad[] = { "0", "61", "-5", "5s", "x", "1e9", "nan", "infinity" };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(load(bad[i], "").interval, 5 * USEC_PER_SEC);
                assert_non_null(strstr(heard, "METRICS_INTERVAL_SECS="));
        }
        assert_int_equal(load("7", "[Metrics]\nInterval=10ms\nInterval=\nInterval=2h\n").interval, 7 * USEC_PER_SEC);
        assert_non_null(strstr(heard, "metrics.conf:2: Interval=10ms: Must be a time between 1s and 1min."));
        assert_non_null(strstr(heard, "metrics.conf:4: "));
        assert_int_equal(load(NULL, "[History]\nSpaceMax=1M\n").space_max, 1 << 30);
        assert_non_null(strstr(heard, "at least 8M"));
        assert_int_equal(load(NULL, "[History]\nSpaceMax=64M\n").space_max, 64 << 20);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_defaults_are_documented_ones),
                cmocka_unit_test(the_seeds_variable_holds_where_no_file_says_otherwise),
                cmocka_unit_test(what_cannot_be_is_told_and_ignored),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
