/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "guest-protocol/flow.h"

static void sender_starts_with_one_window(void **state) {
        size_t n, total = 0, frames = 0;
        GpSender s;

        gp_sender_init(&s);
        while ((n = gp_sender_room(&s)) > 0) {
                assert_true(n <= GP_DATA_MAX);
                gp_sender_sent(&s, n);
                total += n;
                frames++;
        }
        assert_true(s.sent <= GP_WINDOW);
        assert_true(total + frames * GP_DATA_COST + GP_DATA_COST >= GP_WINDOW);
}

static void end_of_file_is_free(void **state) {
        GpReceiver r;
        GpSender s;

        gp_sender_init(&s);
        gp_sender_sent(&s, 0);
        assert_int_equal(s.sent, 0);

        gp_receiver_init(&r);
        r.taken = r.window;
        assert_int_equal(gp_receiver_take(&r, 0), 0);
        assert_int_equal(r.taken, r.window);
}

static void window_never_shrinks(void **state) {
        GpSender s;

        gp_sender_init(&s);
        assert_false(gp_sender_window(&s, GP_WINDOW - 1));
        assert_int_equal(s.window, GP_WINDOW);
        assert_true(gp_sender_window(&s, GP_WINDOW + 1));
        assert_int_equal(s.window, GP_WINDOW + 1);
}

static void small_frames_pay_for_themselves(void **state) {
        size_t frames = 0;
        GpReceiver r;

        gp_receiver_init(&r);
        while (gp_receiver_take(&r, 1) == 0)
                frames++;
        assert_int_equal(frames, GP_WINDOW / (GP_DATA_COST + 1));
}

static void data_beyond_the_window_is_refused(void **state) {
        GpReceiver r;

        gp_receiver_init(&r);
        assert_int_equal(gp_receiver_take(&r, GP_DATA_MAX + 1), -EPROTO);
        r.taken = GP_WINDOW - GP_DATA_COST - 10;
        assert_int_equal(gp_receiver_take(&r, 11), -EPROTO);
        assert_int_equal(gp_receiver_take(&r, 10), 0);
        assert_int_equal(r.taken, r.window);
}

static void nothing_is_granted_while_nobody_consumes(void **state) {
        uint64_t offset = 0;
        size_t pending = 0;
        GpReceiver r;

        gp_receiver_init(&r);
        while (gp_receiver_take(&r, GP_DATA_MAX) == 0)
                pending += GP_DATA_MAX;
        /* The frames' own cost comes back at once, the bytes do not: that is less than a quarter. */
        assert_false(gp_receiver_grant(&r, pending, &offset));
        assert_true(gp_receiver_grant(&r, 0, &offset));
        assert_true(offset == r.taken + GP_WINDOW);
        assert_false(gp_receiver_grant(&r, 0, &offset));
}

/* A sender that always sends as much as it may and a receiver that consumes in odd portions: everything gets
 * through, and the receiver never holds more than a window. */
static void transfer_never_stalls_nor_overflows(void **state) {
        uint64_t left = 10 * 1024 * 1024, got = 0, offset;
        size_t pending = 0;
        GpReceiver r;
        GpSender s;

        gp_sender_init(&s);
        gp_receiver_init(&r);
        for (unsigned round = 0; got < 10 * 1024 * 1024; round++) {
                size_t n = MIN2(gp_sender_room(&s), left), eat;

                assert_true(round < 10 * 1024 * 1024);
                if (n > 0) {
                        gp_sender_sent(&s, n);
                        assert_int_equal(gp_receiver_take(&r, n), 0);
                        pending += n;
                        left -= n;
                }
                assert_true(pending <= GP_WINDOW);
                assert_true(n > 0 || pending > 0);

                eat = MIN2(pending, (size_t) (round * 7919 % 20000));
                pending -= eat;
                got += eat;
                if (gp_receiver_grant(&r, pending, &offset))
                        gp_sender_window(&s, offset);
        }
        assert_int_equal(left, 0);
        assert_true(s.sent == r.taken);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sender_starts_with_one_window),
                cmocka_unit_test(end_of_file_is_free),
                cmocka_unit_test(window_never_shrinks),
                cmocka_unit_test(small_frames_pay_for_themselves),
                cmocka_unit_test(data_beyond_the_window_is_refused),
                cmocka_unit_test(nothing_is_granted_while_nobody_consumes),
                cmocka_unit_test(transfer_never_stalls_nor_overflows),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
