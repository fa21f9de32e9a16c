/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "metricsd/database.h"

#define SECOND UINT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define T0 (UINT64_C(1795000000) * SECOND / DAY * DAY) /* a midnight */

static Database *d;
static bool settled; /* the clock of passes to come */

static int setup(void **state) {
        return database_open(NULL, UINT64_C(1) << 30, &d);
}

static int teardown(void **state) {
        d = database_free(d);
        settled = false;
        return 0;
}

/* A pass of one VM: cpu of its time in percent, and memory. */
static int write_one(Database *db, const char *id, uint64_t time, uint64_t span, uint64_t percent, uint64_t memory, bool prune) {
        PassRow row = { .usage.span = span * 1000 };
        Pass p = { .time = time, .prune = prune, .settled = settled, .n = 1, .rows = &row };

        (void) snprintf(row.id, sizeof(row.id), "%s", id);
        (void) snprintf(row.name, sizeof(row.name), "name-%s", id);
        for (Metric m = 0; m < _METRIC_MAX; m++)
                row.usage.v[m] = VALUE_UNKNOWN;
        row.usage.v[METRIC_CPU] = span * 1000 * percent / 100;
        row.usage.v[METRIC_MEMORY] = row.usage.v[METRIC_MEMORY_MAX] = memory;
        return database_write(db, &p);
}

static void fill(const char *id, uint64_t from, uint64_t to, bool prune) {
        for (uint64_t t = from; t < to; t += 5 * SECOND)
                assert_int_equal(write_one(d, id, t, 5 * SECOND, t / SECOND / 60 % 2 == 0 ? 20 : 40, 1000 + t / SECOND % 60, prune), 0);
}

static Points ask(const char *id, uint64_t from, uint64_t to, uint64_t step) {
        Points p = { .step = step };

        (void) snprintf(p.id, sizeof(p.id), "%s", id);
        assert_int_equal(database_query(d, from, to, &p), 0);
        assert_int_equal(points_merge(&p), 0);
        for (size_t i = 1; i < p.n; i++)
                assert_true(p.points[i].time > p.points[i - 1].time);
        return p;
}

static uint64_t percent(const Point *p) {
        return (uint64_t) (usage_value(&p->usage, METRIC_CPU) + 0.5);
}

static void what_is_written_is_read_back(void **state) {
        Points p;

        assert_int_equal(write_one(d, "a", T0, 5000, 30, 777, false), 0);
        assert_int_equal(write_one(d, "b", T0, 5000, 50, 888, false), 0);
        assert_int_equal(write_one(d, "a", T0 + 5000, 5000, 10, 999, false), 0);
        p = ask("a", 0, T0 + DAY, 5000);
        assert_int_equal(p.n, 2);
        assert_true(p.points[0].time == T0);
        assert_int_equal(percent(p.points), 30);
        assert_int_equal(p.points[1].usage.v[METRIC_MEMORY], 999);
        assert_true(p.points[0].usage.v[METRIC_RECEIVE] == VALUE_UNKNOWN);
        points_done(&p);
        p = ask("a", T0 + 1, T0 + 5000, 1);
        assert_int_equal(p.n, 0);
        points_done(&p);
        p = ask("nobody", 0, T0 + DAY, 5000);
        assert_int_equal(p.n, 0);
        points_done(&p);
}

static void minutes_and_hours_are_made_of_what_was_sampled(void **state) {
        Points p;

        fill("a", T0, T0 + 2 * HOUR + 90 * SECOND, false);
        p = ask("a", T0, T0 + DAY, 60 * SECOND);
        assert_int_equal(p.n, 122); /* the last one is not over yet, and comes from the samples */
        assert_int_equal(percent(p.points), 20);
        assert_int_equal(percent(p.points + 1), 40);
        assert_int_equal(p.points[0].usage.v[METRIC_MEMORY_MAX], 1055);
        assert_int_equal(p.points[0].usage.v[METRIC_MEMORY], 1028); /* 1027.5 */
        assert_int_equal(p.points[0].usage.span, 60000000);
        assert_int_equal(p.points[121].usage.span, 30000000);
        points_done(&p);
        p = ask("a", T0, T0 + DAY, HOUR);
        assert_int_equal(p.n, 3);
        assert_int_equal(percent(p.points), 30);
        assert_int_equal(p.points[0].usage.span, UINT64_C(3600) * 1000000);
        assert_int_equal(p.points[2].usage.span, 90000000);
        points_done(&p);
}

static void what_is_old_is_deleted_and_its_roll_ups_stay(void **state) {
        Points p;

        fill("a", T0, T0 + 3 * HOUR, true);
        p = ask("a", 0, T0 + DAY, 5 * SECOND);
        /* Two hours by the hour or minute, and one as sampled. */
        assert_in_range(p.n, 720 + 120, 720 + 135);
        assert_true(p.points[0].time == T0);
        points_done(&p);
        assert_int_equal(write_one(d, "b", T0 + 30 * HOUR, 5000, 1, 1, true), 0);
        assert_int_equal(write_one(d, "b", T0 + 30 * HOUR + 60 * SECOND, 5000, 1, 1, true), 0);
        p = ask("a", 0, T0 + 2 * DAY, 5 * SECOND);
        assert_int_equal(p.n, 3); /* hours */
        assert_int_equal(percent(p.points + 1), 30);
        points_done(&p);
        assert_int_equal(write_one(d, "b", T0 + 400 * DAY, 5000, 1, 1, true), 0);
        assert_int_equal(write_one(d, "b", T0 + 400 * DAY + HOUR, 5000, 1, 1, true), 0);
        p = ask("a", 0, T0 + 500 * DAY, HOUR);
        assert_int_equal(p.n, 0);
        points_done(&p);
}

static void nothing_is_deleted_by_a_clock_that_is_not_trusted(void **state) {
        Points p;

        fill("a", T0, T0 + HOUR, false);
        assert_int_equal(write_one(d, "a", T0 + 4000 * DAY, 5000, 1, 1, false), 0);
        fill("a", T0 + HOUR, T0 + 2 * HOUR, true); /* it is set back */
        p = ask("a", T0, T0 + DAY, 60 * SECOND);
        assert_int_equal(p.n, 120);
        for (size_t i = 0; i < p.n; i++)
                assert_int_equal(percent(p.points + i), i % 2 == 0 ? 20 : 40);
        points_done(&p);
}

static void a_clock_set_back_goes_over_the_same_time_again(void **state) {
        Points p;

        fill("a", T0, T0 + HOUR + 60 * SECOND, true);
        fill("a", T0 + HOUR / 2, T0 + HOUR + 120 * SECOND, true);
        p = ask("a", T0, T0 + DAY, 60 * SECOND);
        assert_int_equal(p.n, 62);
        for (size_t i = 0; i < p.n; i++)
                assert_int_equal(percent(p.points + i), i % 2 == 0 ? 20 : 40);
        points_done(&p);
}

static void what_a_clock_ahead_wrote_is_replaced_where_time_comes_by_it(void **state) {
        Points p;

        fill("a", T0, T0 + HOUR, true);
        for (uint64_t t = T0 + 2 * HOUR + 2 * SECOND; t < T0 + 2 * HOUR + 600 * SECOND; t += 5 * SECOND) {
                assert_int_equal(write_one(d, "a", t, 5 * SECOND, 90, 9999, false), 0);
                assert_int_equal(write_one(d, "b", t + 1, 5 * SECOND, 90, 9999, false), 0);
        }
        fill("a", T0 + HOUR, T0 + 3 * HOUR, true);
        for (unsigned step = 0; step < 2; step++) {
                p = ask("a", T0, T0 + DAY, step == 0 ? 60 * SECOND : HOUR);
                assert_int_equal(p.n, step == 0 ? 180 : 3);
                for (size_t i = 0; i < p.n; i++) {
                        assert_int_equal(p.points[i].usage.v[METRIC_MEMORY_MAX], 1055);
                        assert_int_equal(percent(p.points + i), step == 1 ? 30 : i % 2 == 0 ? 20 : 40);
                }
                points_done(&p);
                p = ask("b", T0, T0 + DAY, step == 0 ? 60 * SECOND : HOUR);
                assert_int_equal(p.n, 0);
                points_done(&p);
        }
}

static void what_a_clock_ahead_wrote_is_deleted_when_the_clock_has_settled(void **state) {
        Points p;

        fill("a", T0, T0 + HOUR, true);
        fill("a", T0 + 50 * DAY, T0 + 50 * DAY + HOUR + 65 * SECOND, false);
        fill("a", T0 + HOUR, T0 + 2 * HOUR, true);
        p = ask("a", T0 + 49 * DAY, T0 + 51 * DAY, 60 * SECOND);
        assert_true(p.n > 60); /* or is it the true time, that will be back? */
        points_done(&p);
        settled = true;
        fill("a", T0 + 2 * HOUR, T0 + 2 * HOUR + 65 * SECOND, true);
        for (unsigned step = 0; step < 3; step++) {
                p = ask("a", T0 + 3 * HOUR, T0 + 51 * DAY, step == 0 ? SECOND : step == 1 ? 60 * SECOND : HOUR);
                assert_int_equal(p.n, 0);
                points_done(&p);
        }
        p = ask("a", T0, T0 + 51 * DAY, 60 * SECOND);
        assert_int_equal(p.n, 122);
        points_done(&p);
}

static void a_name_is_of_the_vm_seen_last_by_a_clock_that_has_settled(void **state) {
        PassRow row = { .id = "first", .name = "web", .usage.span = 5000000 };
        Pass pass = { .time = T0 + 50 * DAY, .n = 1, .rows = &row };
        char id[VM_ID_MAX];

        assert_int_equal(database_write(d, &pass), 0);
        assert_int_equal(write_one(d, "other", T0 + 50 * DAY + 2 * HOUR, 5000, 1, 1, true), 0);
        assert_int_equal(write_one(d, "other", T0 + 50 * DAY + 3 * HOUR, 5000, 1, 1, true), 0);
        (void) snprintf(row.id, sizeof(row.id), "second");
        pass.prune = pass.settled = true;
        for (pass.time = T0; pass.time < T0 + 2 * HOUR; pass.time += 60 * SECOND)
                assert_int_equal(database_write(d, &pass), 0);
        assert_int_equal(database_find(d, "web", id), 0);
        assert_string_equal(id, "second");
}

static void roll_ups_go_on_after_a_clock_ahead_and_a_restart(void **state) {
        char path[] = "/tmp/test-history-XXXXXX";
        Points p;

        assert_non_null(mkdtemp(path));
        assert_int_equal(chdir(path), 0);
        assert_int_equal(database_open("history.db", UINT64_C(1) << 30, &d), 0);
        fill("a", T0, T0 + HOUR / 2, true);
        fill("a", T0 + 4000 * DAY, T0 + 4000 * DAY + 65 * SECOND, false);
        fill("a", T0 + HOUR / 2, T0 + HOUR - 10 * SECOND, true);
        d = database_free(d);
        assert_int_equal(database_open("history.db", UINT64_C(1) << 30, &d), 0);
        p = ask("a", T0, T0 + HOUR, 60 * SECOND); /* before anything is written */
        assert_int_equal(p.n, 60);
        points_done(&p);
        fill("a", T0 + HOUR, T0 + HOUR + 300 * SECOND, true);
        p = ask("a", T0, T0 + HOUR, HOUR);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.points[0].usage.span, UINT64_C(3590) * 1000000);
        points_done(&p);
        p = ask("a", T0 + HOUR - 60 * SECOND, T0 + HOUR, 60 * SECOND);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.points[0].usage.span, 50000000);
        points_done(&p);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(remove_tree_at(AT_FDCWD, path), 0);
}

static void a_clock_that_was_behind_leaves_what_is_rolled_up_alone(void **state) {
        Points p;

        fill("a", T0, T0 + 3 * HOUR, true);
        fill("a", T0 + 30 * 60 * SECOND, T0 + 30 * 60 * SECOND + 20 * SECOND, false);
        fill("a", T0 + 3 * HOUR, T0 + 4 * HOUR + 60 * SECOND, true);
        p = ask("a", T0, T0 + 4 * HOUR, HOUR);
        assert_int_equal(p.n, 4);
        for (size_t i = 0; i < p.n; i++)
                assert_int_equal(p.points[i].usage.span, UINT64_C(3600) * 1000000);
        points_done(&p);
        p = ask("a", T0, T0 + 4 * HOUR, 60 * SECOND);
        assert_int_equal(p.n, 240);
        for (size_t i = 0; i < p.n; i++)
                assert_int_equal(p.points[i].usage.span, UINT64_C(60) * 1000000);
        points_done(&p);
}

static void ids_and_names_are_found(void **state) {
        char id[VM_ID_MAX];

        assert_int_equal(write_one(d, "0123456789ab", T0, 5000, 1, 1, false), 0);
        assert_int_equal(database_find(d, "0123456789ab", id), 0);
        assert_int_equal(database_find(d, "name-0123456789ab", id), 0);
        assert_string_equal(id, "0123456789ab");
        assert_int_equal(database_find(d, "other", id), -ENOENT);
        assert_int_equal(database_find(d, "", id), -ENOENT);
        assert_int_equal(database_find(d, "'; DROP TABLE fine; -- and much more than an id has characters in it", id), -ENOENT);
}

static void a_table_that_grows_too_large_loses_its_oldest(void **state) {
        struct stat st;
        char path[] = "/tmp/test-history-XXXXXX";
        Points p = { .step = 5000 };
        Database *small;

        assert_non_null(mkdtemp(path));
        assert_int_equal(chdir(path), 0);
        assert_int_equal(database_open("history.db", 256 * 1024, &small), 0);
        for (unsigned i = 0; i < 20000; i++)
                assert_int_equal(write_one(small, "a", T0 + i * 1000, 1000, 50, 1, false), 0);
        (void) snprintf(p.id, sizeof(p.id), "a");
        assert_int_equal(database_query(small, T0 + 19990 * SECOND, T0 + DAY, &p), 0);
        assert_true(p.n >= 2);
        points_done(&p);
        small = database_free(small);
        assert_int_equal(stat("history.db", &st), 0);
        assert_in_range(st.st_size, 65536, 320 * 1024);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(remove_tree_at(AT_FDCWD, path), 0);
}

static size_t points_of(Database *db, const char *id, uint64_t from, uint64_t to, uint64_t step) {
        Points p = { .step = step };
        size_t n;

        (void) snprintf(p.id, sizeof(p.id), "%s", id);
        assert_int_equal(database_query(db, from, to, &p), 0);
        assert_int_equal(points_merge(&p), 0);
        n = p.n;
        points_done(&p);
        return n;
}

static void a_table_that_grows_too_large_loses_the_finest_first(void **state) {
        Database *small;

        assert_int_equal(database_open(NULL, 256 * 1024, &small), 0);
        for (uint64_t t = T0; t < T0 + 2 * DAY; t += 15 * SECOND)
                assert_int_equal(write_one(small, "a", t, 15 * SECOND, 50, 1, false), 0);
        assert_int_equal(points_of(small, "a", T0, T0 + 2 * DAY, HOUR), 48);
        assert_int_equal(points_of(small, "a", T0, T0 + 2 * DAY, 60 * SECOND), 2880); /* there is room for them */
        assert_in_range(points_of(small, "a", T0 + 2 * DAY - HOUR, T0 + 2 * DAY, 15 * SECOND), 100, 240);
        small = database_free(small);

        assert_int_equal(database_open(NULL, 100 * 1024, &small), 0);
        for (uint64_t t = T0; t < T0 + 2 * DAY; t += 15 * SECOND)
                assert_int_equal(write_one(small, "a", t, 15 * SECOND, 50, 1, false), 0);
        assert_int_equal(points_of(small, "a", T0, T0 + 2 * DAY, HOUR), 48);
        assert_in_range(points_of(small, "a", T0, T0 + 2 * DAY, 60 * SECOND), 100, 2500);
        small = database_free(small);
}

static void hours_go_when_nothing_else_is_left_to_go(void **state) {
        Database *small;
        size_t n;

        assert_int_equal(database_open(NULL, 64 * 1024, &small), 0);
        for (uint64_t t = T0; t < T0 + 100 * DAY; t += 15 * 60 * SECOND)
                assert_int_equal(write_one(small, "a", t, 60 * SECOND, 50, 1, false), 0);
        n = points_of(small, "a", T0, T0 + 100 * DAY, HOUR);
        assert_in_range(n, 200, 1500);
        assert_int_equal(points_of(small, "a", T0 + 99 * DAY, T0 + 100 * DAY, HOUR), 24); /* the oldest of them */
        small = database_free(small);
}

static void what_a_clock_ahead_wrote_does_not_make_true_history_old(void **state) {
        Database *small;

        assert_int_equal(database_open(NULL, 256 * 1024, &small), 0);
        assert_int_equal(write_one(small, "a", T0 + 4000 * DAY, 15 * SECOND, 50, 1, false), 0);
        assert_int_equal(write_one(small, "a", T0 + 4000 * DAY + HOUR, 15 * SECOND, 50, 1, false), 0);
        for (uint64_t t = T0; t < T0 + 2 * DAY; t += 15 * SECOND)
                assert_int_equal(write_one(small, "a", t, 15 * SECOND, 50, 1, false), 0);
        assert_int_equal(points_of(small, "a", T0, T0 + 2 * DAY, HOUR), 48);
        assert_true(points_of(small, "a", T0 + 2 * DAY - HOUR, T0 + 2 * DAY, 15 * SECOND) > 100);
        small = database_free(small);
}

static void a_file_that_is_no_database_is_told(void **state) {
        char path[] = "/tmp/test-history-XXXXXX";
        _cleanup_close_ int fd = mkstemp(path);
        Database *broken = NULL;

        assert_int_equal(write_all(fd, "this is not a database, is it, and a page of it would be longer", 60), 0);
        assert_int_equal(database_open(path, 1 << 30, &broken), -EUCLEAN);
        assert_null(broken);
        assert_int_equal(unlink(path), 0);
}

static void one_database_is_taken_into_another(void **state) {
        Database *memory;
        Points p;

        assert_int_equal(database_open(NULL, 1 << 30, &memory), 0);
        assert_int_equal(write_one(d, "z", T0, 5000, 1, 1, false), 0); /* so that numbers differ */
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(write_one(memory, i % 2 ? "a" : "b", T0 + i * 5000, 5000, 50, i, false), 0);
        assert_int_equal(database_copy(d, memory), 0);
        p = ask("a", 0, T0 + DAY, 5000);
        assert_int_equal(p.n, 50);
        assert_int_equal(p.points[0].usage.v[METRIC_MEMORY], 1);
        points_done(&p);
        database_free(memory);
}

static void fill_every(Database *db, uint64_t from, uint64_t to, uint64_t every, bool prune) {
        for (uint64_t t = from; t < to; t += every)
                assert_int_equal(write_one(db, "a", t, every, 50, 1, prune), 0);
}

/* Of a VM that ran all the time every second is there once, whatever the step. */
static void assert_whole(Database *db, uint64_t from, uint64_t to) {
        static const uint64_t steps[] = { 5 * SECOND, 60 * SECOND, HOUR };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                Points p = { .id = "a", .step = steps[i] };
                uint64_t span = 0;

                assert_int_equal(database_query(db, from, to, &p), 0);
                assert_int_equal(points_merge(&p), 0);
                for (size_t k = 0; k < p.n; k++) {
                        assert_int_equal(percent(p.points + k), 50);
                        if (steps[i] == HOUR && p.points[k].time + HOUR <= to)
                                assert_int_equal(p.points[k].usage.span, HOUR * 1000);
                        span += p.points[k].usage.span;
                }
                points_done(&p);
                assert_true(span == (to - from) * 1000);
        }
}

static void what_was_in_memory_for_a_while_joins_what_was_there_before(void **state) {
        Database *memory;

        fill_every(d, T0, T0 + 20 * 60 * SECOND + 20 * SECOND, 5 * SECOND, true);
        assert_int_equal(database_open(NULL, 1 << 30, &memory), 0);
        fill_every(memory, T0 + 20 * 60 * SECOND + 20 * SECOND, T0 + 30 * 60 * SECOND + 40 * SECOND, 5 * SECOND, true);
        assert_int_equal(database_copy(d, memory), 0);
        assert_whole(d, T0, T0 + 30 * 60 * SECOND + 40 * SECOND);
        fill_every(d, T0 + 30 * 60 * SECOND + 40 * SECOND, T0 + 2 * HOUR, 5 * SECOND, true);
        assert_whole(d, T0, T0 + 2 * HOUR);
        database_free(memory);
}

static void what_was_in_memory_for_days_is_taken_along_with_its_roll_ups(void **state) {
        const uint64_t failed = T0 + HOUR / 2 + 20 * SECOND, back = T0 + 50 * HOUR + 40 * SECOND;
        Database *memory;

        fill_every(d, T0, failed, 20 * SECOND, true);
        assert_int_equal(database_open(NULL, 1 << 30, &memory), 0);
        fill_every(memory, failed, back, 20 * SECOND, true);
        assert_int_equal(database_copy(d, memory), 0);
        assert_whole(d, T0, back);
        assert_int_equal(points_of(d, "a", back - 24 * HOUR, back, 60 * SECOND), 24 * 60 + 1);
        assert_int_equal(points_of(d, "a", back - HOUR, back, 20 * SECOND), 180);
        fill_every(d, back, T0 + 52 * HOUR, 20 * SECOND, true);
        assert_whole(d, T0, T0 + 52 * HOUR);
        database_free(memory);
}

static void a_memory_that_was_full_is_taken_along_with_what_it_has(void **state) {
        const uint64_t failed = T0 + HOUR / 2 + 20 * SECOND, back = T0 + 50 * HOUR + 40 * SECOND;
        Database *memory;

        fill_every(d, T0, failed, 20 * SECOND, true);
        assert_int_equal(database_open(NULL, 96 * 1024, &memory), 0);
        fill_every(memory, failed, back, 20 * SECOND, true);
        assert_int_equal(database_copy(d, memory), 0);
        assert_whole(d, T0, back);
        fill_every(d, back, T0 + 52 * HOUR, 20 * SECOND, true);
        assert_whole(d, T0, T0 + 52 * HOUR);
        database_free(memory);
}

static void a_disk_that_does_not_take_it_all_takes_nothing(void **state) {
        char path[] = "/tmp/test-history-XXXXXX", id[VM_ID_MAX];
        struct rlimit old, small;
        Database *memory;
        int r;

        assert_non_null(mkdtemp(path));
        assert_int_equal(chdir(path), 0);
        assert_int_equal(database_open("history.db", UINT64_C(1) << 30, &d), 0);
        assert_int_equal(database_open(NULL, 1 << 30, &memory), 0);
        fill_every(d, T0, T0 + HOUR / 2, 5 * SECOND, true);
        fill_every(memory, T0 + HOUR / 2, T0 + 30 * HOUR, 5 * SECOND, true);
        assert_int_equal(write_one(memory, "b", T0 + 30 * HOUR, 5 * SECOND, 50, 1, true), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = (struct rlimit) { .rlim_cur = 150000, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        r = database_copy(d, memory);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_true(r < 0);
        assert_whole(d, T0, T0 + HOUR / 2);
        assert_int_equal(points_of(d, "a", T0 + HOUR / 2, T0 + DAY, HOUR), 0);
        assert_int_equal(database_find(d, "b", id), -ENOENT);
        assert_int_equal(database_copy(d, memory), 0);
        assert_whole(d, T0, T0 + 30 * HOUR);
        assert_int_equal(database_find(d, "name-b", id), 0);
        database_free(memory);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(remove_tree_at(AT_FDCWD, path), 0);
}

static void there_is_a_limit_to_points(void **state) {
        Points p = { .step = 1 };

        (void) snprintf(p.id, sizeof(p.id), "a");
        for (unsigned i = 0; i <= POINTS_MAX; i++)
                assert_int_equal(write_one(d, "a", T0 + i * 100, 100, 50, 1, false), 0);
        assert_int_equal(database_query(d, 0, T0 + DAY, &p), 0);
        assert_int_equal(points_merge(&p), -E2BIG);
        points_done(&p);
        p = ask("a", 0, T0 + DAY, 1000);
        assert_int_equal(p.n, POINTS_MAX / 10 + 1);
        points_done(&p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_written_is_read_back, setup, teardown),
                cmocka_unit_test_setup_teardown(minutes_and_hours_are_made_of_what_was_sampled, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_old_is_deleted_and_its_roll_ups_stay, setup, teardown),
                cmocka_unit_test_setup_teardown(nothing_is_deleted_by_a_clock_that_is_not_trusted, setup, teardown),
                cmocka_unit_test_setup_teardown(a_clock_set_back_goes_over_the_same_time_again, setup, teardown),
                cmocka_unit_test_setup_teardown(what_a_clock_ahead_wrote_is_replaced_where_time_comes_by_it, setup, teardown),
                cmocka_unit_test_setup_teardown(what_a_clock_ahead_wrote_is_deleted_when_the_clock_has_settled, setup, teardown),
                cmocka_unit_test_setup_teardown(a_name_is_of_the_vm_seen_last_by_a_clock_that_has_settled, setup, teardown),
                cmocka_unit_test_teardown(roll_ups_go_on_after_a_clock_ahead_and_a_restart, teardown),
                cmocka_unit_test_setup_teardown(a_clock_that_was_behind_leaves_what_is_rolled_up_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(ids_and_names_are_found, setup, teardown),
                cmocka_unit_test(a_table_that_grows_too_large_loses_its_oldest),
                cmocka_unit_test(a_table_that_grows_too_large_loses_the_finest_first),
                cmocka_unit_test(hours_go_when_nothing_else_is_left_to_go),
                cmocka_unit_test(what_a_clock_ahead_wrote_does_not_make_true_history_old),
                cmocka_unit_test(a_file_that_is_no_database_is_told),
                cmocka_unit_test_setup_teardown(one_database_is_taken_into_another, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_in_memory_for_a_while_joins_what_was_there_before, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_in_memory_for_days_is_taken_along_with_its_roll_ups, setup, teardown),
                cmocka_unit_test_setup_teardown(a_memory_that_was_full_is_taken_along_with_what_it_has, setup, teardown),
                cmocka_unit_test_teardown(a_disk_that_does_not_take_it_all_takes_nothing, teardown),
                cmocka_unit_test_setup_teardown(there_is_a_limit_to_points, setup, teardown),
        };

        (void) signal(SIGXFSZ, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
