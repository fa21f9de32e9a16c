/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "metricsd/cgroup-file.h"

static Counters c;

static int setup(void **state) {
        counters_unknown(&c);
        return 0;
}

static void cpu_stat_with_and_without_a_controller(void **state) {
        parse_cpu_stat("usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\ncore_sched.force_idle_usec 5\n", &c);
        assert_int_equal(c.v[COUNTER_CPU], 123456);
        assert_int_equal(c.v[COUNTER_CPU_USER], 100000);
        assert_int_equal(c.v[COUNTER_CPU_SYSTEM], 23456);
        assert_true(c.v[COUNTER_CPU_THROTTLED] == VALUE_UNKNOWN);
        parse_cpu_stat("usage_usec 1\nnr_periods 9\nnr_throttled 2\nthrottled_usec 77", &c);
        assert_int_equal(c.v[COUNTER_CPU_THROTTLED], 77);
}

static void a_name_is_not_taken_for_a_longer_one(void **state) {
        parse_memory_stat("anon_thp 1\nfile_mapped 2\nshmem_thp 3\ninactive_anon 4\n", &c);
        assert_true(c.v[COUNTER_MEMORY_ANON] == VALUE_UNKNOWN);
        assert_true(c.v[COUNTER_MEMORY_FILE] == VALUE_UNKNOWN);
        assert_true(c.v[COUNTER_MEMORY_SHMEM] == VALUE_UNKNOWN);
        parse_memory_stat("anon 10\nfile 20\nkernel 5\nshmem 30\n", &c);
        assert_int_equal(c.v[COUNTER_MEMORY_ANON], 10);
        assert_int_equal(c.v[COUNTER_MEMORY_FILE], 20);
        assert_int_equal(c.v[COUNTER_MEMORY_SHMEM], 30);
}

static void disks_are_added_up(void **state) {
        parse_io_stat("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=99 dios=9\n254:16 rbytes=5 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n"
                      "7:0 \n", &c);
        assert_int_equal(c.v[COUNTER_DISK_READ], 15);
        assert_int_equal(c.v[COUNTER_DISK_WRITE], 20);
        assert_int_equal(c.v[COUNTER_DISK_READS], 2);
        assert_int_equal(c.v[COUNTER_DISK_WRITES], 2);
}

static void no_disk_was_used_is_nothing_and_not_unknown(void **state) {
        parse_io_stat("", &c);
        assert_int_equal(c.v[COUNTER_DISK_READ], 0);
}

static void pressure_is_that_of_some(void **state) {
        parse_io_pressure("some avg10=0.00 avg60=1.00 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=12\n", &c);
        assert_int_equal(c.v[COUNTER_IO_PRESSURE], 4711);
        parse_cpu_pressure("full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n", &c);
        assert_true(c.v[COUNTER_CPU_PRESSURE] == VALUE_UNKNOWN);
        parse_memory_pressure("some avg10=0.00\nfull total=12\n", &c);
        assert_true(c.v[COUNTER_MEMORY_PRESSURE] == VALUE_UNKNOWN);
}

static void what_is_no_number_stays_unknown(void **state) {
        static const char *const texts[] = { "", "\n", "max\n", "-1\n", "99999999999999999999\n", "18446744073709551616" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                parse_memory_current(texts[i], &c);
                assert_true(c.v[COUNTER_MEMORY] == VALUE_UNKNOWN);
        }
        parse_memory_current("268435456\n", &c);
        assert_int_equal(c.v[COUNTER_MEMORY], 268435456);
        parse_memory_peak("300000000\n", &c);
        assert_int_equal(c.v[COUNTER_MEMORY_PEAK], 300000000);
}

static void resident_pages_are_told_in_bytes(void **state) {
        parse_statm("1000 25 3 4 0 6 0\n", &c);
        assert_int_equal(c.v[COUNTER_MEMORY], 25 * 4096);
        counters_unknown(&c);
        parse_statm("1000\n", &c);
        assert_true(c.v[COUNTER_MEMORY] == VALUE_UNKNOWN);
}

static void a_process_is_believed_only_of_its_unit(void **state) {
        _cleanup_free_ char *path = NULL;

        assert_int_equal(parse_proc_cgroup("0::/a.slice/hero-vm-x.scope\n", "hero-vm-x.scope", &path), 0);
        assert_string_equal(path, "/a.slice/hero-vm-x.scope");
        path = mfree(path);
        assert_int_equal(parse_proc_cgroup("4:memory:/x\n0::/u.scope\n", "u.scope", &path), 0);
        assert_string_equal(path, "/u.scope");
        path = mfree(path);
        assert_int_equal(parse_proc_cgroup("0::/a/hero-vm-xy.scope\n", "hero-vm-x.scope", &path), -ENOENT);
        assert_int_equal(parse_proc_cgroup("0::/a/hero-vm-x.scope/sub\n", "hero-vm-x.scope", &path), -ENOENT);
        assert_int_equal(parse_proc_cgroup("4:memory:/hero-vm-x.scope\n", "hero-vm-x.scope", &path), -ENOENT);
        assert_int_equal(parse_proc_cgroup("", "hero-vm-x.scope", &path), -ENOENT);
        assert_null(path);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(cpu_stat_with_and_without_a_controller, setup),
                cmocka_unit_test_setup(a_name_is_not_taken_for_a_longer_one, setup),
                cmocka_unit_test_setup(disks_are_added_up, setup),
                cmocka_unit_test_setup(no_disk_was_used_is_nothing_and_not_unknown, setup),
                cmocka_unit_test_setup(pressure_is_that_of_some, setup),
                cmocka_unit_test_setup(what_is_no_number_stays_unknown, setup),
                cmocka_unit_test_setup(resident_pages_are_told_in_bytes, setup),
                cmocka_unit_test_setup(a_process_is_believed_only_of_its_unit, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
