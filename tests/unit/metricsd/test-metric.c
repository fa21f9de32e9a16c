/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "basic/string-util.h"
#include "metricsd/cgroup-file.h"
#include "metricsd/metric.h"

static void every_counter_and_metric_is_described_once(void **state) {
        for (Counter i = 0; i < _COUNTER_MAX; i++) {
                const char *name = counter_info[i].name;
                bool total = streq(name + strlen(name) - 6, "_total");

                assert_non_null(startswith(name, "hero_vm_"));
                assert_int_equal(total, counter_info[i].type != COUNTER_LEVEL);
                assert_true(strlen(counter_info[i].help) > 10);
                for (Counter j = 0; j < i; j++)
                        assert_string_not_equal(name, counter_info[j].name);
        }
        for (Metric i = 0; i < _METRIC_MAX; i++)
                for (Metric j = 0; j < i; j++) {
                        assert_string_not_equal(metric_info[i].name, metric_info[j].name);
                        assert_string_not_equal(metric_info[i].column, metric_info[j].column);
                }
}

static void usage_is_what_counters_grew_by(void **state) {
        Counters a, b;
        Usage u;

        counters_unknown(&a);
        counters_unknown(&b);
        a.v[COUNTER_CPU] = 1000000;
        b.v[COUNTER_CPU] = 3500000;
        a.v[COUNTER_RECEIVE] = 100;
        b.v[COUNTER_RECEIVE] = 5100;
        b.v[COUNTER_MEMORY] = 4096;
        b.v[COUNTER_DISK_READ] = 7;
        usage_between(&a, &b, 5000000, &u);
        assert_int_equal(u.v[METRIC_CPU], 2500000);
        assert_true(fabs(usage_value(&u, METRIC_CPU) - 50) < 1e-9);
        assert_true(fabs(usage_value(&u, METRIC_RECEIVE) - 1000) < 1e-9);
        assert_true(fabs(usage_value(&u, METRIC_MEMORY) - 4096) < 1e-9);
        assert_true(isnan(usage_value(&u, METRIC_DISK_READ)));
        assert_true(isnan(usage_value(&u, METRIC_TRANSMIT)));
}

static void a_counter_that_went_back_did_not_grow(void **state) {
        Counters a, b;
        Usage u;

        counters_unknown(&a);
        counters_unknown(&b);
        a.v[COUNTER_CPU] = 10;
        b.v[COUNTER_CPU] = 9;
        usage_between(&a, &b, 1000, &u);
        assert_int_equal(u.v[METRIC_CPU], 0);
}

static void usages_are_added_with_their_times(void **state) {
        Usage a = { .span = 1000 }, b = { .span = 3000 };

        for (Metric m = 0; m < _METRIC_MAX; m++)
                a.v[m] = b.v[m] = VALUE_UNKNOWN;
        a.v[METRIC_CPU] = 100;
        b.v[METRIC_CPU] = 500;
        a.v[METRIC_MEMORY] = a.v[METRIC_MEMORY_MAX] = 1000;
        b.v[METRIC_MEMORY] = b.v[METRIC_MEMORY_MAX] = 2000;
        b.v[METRIC_RECEIVE] = 7;
        usage_add(&a, &b);
        assert_int_equal(a.span, 4000);
        assert_int_equal(a.v[METRIC_CPU], 600);
        assert_int_equal(a.v[METRIC_MEMORY], 1750);
        assert_int_equal(a.v[METRIC_MEMORY_MAX], 2000);
        assert_int_equal(a.v[METRIC_RECEIVE], 7);
        assert_true(a.v[METRIC_TRANSMIT] == VALUE_UNKNOWN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_counter_and_metric_is_described_once),
                cmocka_unit_test(usage_is_what_counters_grew_by),
                cmocka_unit_test(a_counter_that_went_back_did_not_grow),
                cmocka_unit_test(usages_are_added_with_their_times),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
