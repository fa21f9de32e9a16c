/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "metricsd/history.h"

#define T0 UINT64_C(1795000000000)

static void on_answer(int error, const Points *points, void *userdata) {
        int *ret = userdata;

        *ret = error < 0 ? error : (int) points->n;
}

static int points_of(sd_event *event, History *h) {
        int n = -EINPROGRESS;

        assert_int_equal(history_query(h, "a", 0, 2 * T0, 5000, on_answer, &n), 0);
        while (n == -EINPROGRESS)
                assert_true(sd_event_run(event, UINT64_MAX) > 0);
        return n;
}

static void write_one(History *h, uint64_t time) {
        Pass *p = new0(Pass, 1);

        p->rows = new0(PassRow, 1);
        p->n = 1;
        p->time = time;
        (void) snprintf(p->rows[0].id, sizeof(p->rows[0].id), "a");
        p->rows[0].usage.span = 5000000;
        history_write(h, p);
}

static void what_is_in_memory_at_the_end_is_given_to_the_disk_if_it_takes_it(void **state) {
        char root[] = "/tmp/test-history-XXXXXX";
        sd_event *event = NULL;
        History *h;

        assert_non_null(mkdtemp(root));
        assert_int_equal(chdir(root), 0);
        assert_int_equal(sd_event_new(&event), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(history_new(event, "state", UINT64_C(1) << 30, &h), 0);
                write_one(h, T0 + i * 5000);
                assert_int_equal(points_of(event, h), 1); /* it is over with opening the file, which has no directory */
                if (i == 1)
                        assert_int_equal(mkdir("state", 0700), 0);
                history_free(h);
        }
        assert_int_equal(history_new(event, "state", UINT64_C(1) << 30, &h), 0);
        assert_int_equal(points_of(event, h), 1);
        history_free(h);
        sd_event_unref(event);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(remove_tree_at(AT_FDCWD, root), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_in_memory_at_the_end_is_given_to_the_disk_if_it_takes_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
