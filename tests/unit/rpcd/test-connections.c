/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/time-util.h"
#include "rpcd/connections.h"

#define SHORT (30 * USEC_PER_MSEC)
#define N 3

typedef struct World {
        sd_event *event;
        RpcConfig config;
        Connections *all;
        Connection connections[N];
        int theirs[N], ours[N];
        unsigned drained;
} World;

static int setup(void **state) {
        World *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->config = (RpcConfig) {
                .connections_max = N,
                .request_timeout = SHORT,
                .idle_timeout = 5 * SHORT,
        };
        assert_true(sd_event_new(&w->event) >= 0);
        assert_int_equal(connections_new(w->event, &w->config, &w->all), 0);
        for (unsigned i = 0; i < N; i++) {
                int fds[2];

                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
                w->theirs[i] = fds[0];
                w->ours[i] = fds[1];
        }
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        for (unsigned i = 0; i < N; i++) {
                connection_close(&w->connections[i]);
                close(w->theirs[i]);
                close(w->ours[i]);
        }
        connections_free(w->all);
        sd_event_unref(w->event);
        free(w);
        return 0;
}

static void open_all(World *w) {
        for (unsigned i = 0; i < N; i++)
                assert_int_equal(connection_open(w->all, &w->connections[i], w->ours[i], 0), 0);
}

static void run_for(World *w, uint64_t usec) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + usec, now;

        while ((now = now_usec(CLOCK_MONOTONIC)) < end)
                assert_true(sd_event_run(w->event, end - now) >= 0);
}

static bool is_cut_off(const World *w, unsigned i) {
        struct pollfd p = { .fd = w->theirs[i], .events = POLLIN };

        assert_true(poll(&p, 1, 0) >= 0);
        return p.revents & POLLHUP;
}

static void who_says_nothing_is_cut_off(void **state) {
        World *w = *state;

        open_all(w);
        run_for(w, SHORT / 2);
        assert_false(is_cut_off(w, 0));
        run_for(w, SHORT);
        for (unsigned i = 0; i < N; i++)
                assert_true(is_cut_off(w, i));
        assert_int_equal(connections_count(w->all), N);
}

static void a_deadline_nearer_than_those_before_is_met(void **state) {
        World *w = *state;

        open_all(w);
        for (unsigned i = 0; i < N; i++)
                connection_set_phase(&w->connections[i], CONNECTION_IDLE);
        run_for(w, 3 * SHORT / 2);
        assert_false(is_cut_off(w, 1));
        connection_set_phase(&w->connections[1], CONNECTION_REQUEST);
        run_for(w, 3 * SHORT / 2);
        assert_true(is_cut_off(w, 1));
        assert_false(is_cut_off(w, 0));
        run_for(w, 4 * SHORT);
        assert_true(is_cut_off(w, 0));
        assert_true(is_cut_off(w, 2));
}

static void one_that_was_cut_off_does_not_save_the_next(void **state) {
        World *w = *state;

        assert_int_equal(connection_open(w->all, &w->connections[0], w->ours[0], 0), 0);
        run_for(w, 2 * SHORT);
        assert_true(is_cut_off(w, 0));
        assert_int_equal(connection_open(w->all, &w->connections[1], w->ours[1], 0), 0);
        run_for(w, 2 * SHORT);
        assert_true(is_cut_off(w, 1));
}

static void who_waits_for_us_has_time(void **state) {
        World *w = *state;

        open_all(w);
        connection_set_phase(&w->connections[0], CONNECTION_CALL);
        run_for(w, 6 * SHORT);
        assert_false(is_cut_off(w, 0));
        connection_set_phase(&w->connections[0], CONNECTION_ANSWER);
        run_for(w, 3 * SHORT);
        assert_false(is_cut_off(w, 0));
        run_for(w, 3 * SHORT);
        assert_true(is_cut_off(w, 0));
}

static void there_are_no_more_than_the_maximum(void **state) {
        World *w = *state;
        Connection more = {};

        open_all(w);
        assert_int_equal(connection_open(w->all, &more, -1, 0), -EUSERS);
        connection_close(&more);
        connection_close(&w->connections[0]);
        assert_int_equal(connection_open(w->all, &w->connections[0], w->ours[0], 0), 0);
}

static void idle_ones_make_room(void **state) {
        World *w = *state;

        open_all(w);
        connection_set_phase(&w->connections[0], CONNECTION_CALL);
        connection_set_phase(&w->connections[2], CONNECTION_IDLE);
        assert_true(connections_make_room(w->all));
        assert_true(is_cut_off(w, 2));
        assert_false(is_cut_off(w, 1));
        assert_true(connections_make_room(w->all)); /* there is room now */
        assert_false(is_cut_off(w, 1));
        connection_close(&w->connections[2]);
        assert_int_equal(connection_open(w->all, &w->connections[2], w->ours[2], 0), 0);
        connection_set_phase(&w->connections[2], CONNECTION_REQUEST);
        assert_true(connections_make_room(w->all));
        assert_true(is_cut_off(w, 1));
        connection_close(&w->connections[1]);
        assert_int_equal(connection_open(w->all, &w->connections[1], w->ours[1], 0), 0);
        connection_set_phase(&w->connections[1], CONNECTION_ANSWER);
        assert_false(connections_make_room(w->all));
}

static void half_of_the_answers_are_for_administrators(void **state) {
        World *w = *state;
        Connection *c = &w->connections[0];

        open_all(w);
        assert_true(connection_take_answer(c, CONNECTIONS_ANSWERS_MAX / 2, false));
        assert_false(connection_take_answer(c, 1, false));
        assert_true(connection_take_answer(c, CONNECTIONS_ANSWERS_MAX / 2, true));
        assert_false(connection_take_answer(c, 1, false));
        assert_false(connection_take_answer(c, 1, true));
        assert_false(connection_take_answer(c, UINT64_MAX, true));
        connection_give_answer(c, CONNECTIONS_ANSWERS_MAX);
        assert_true(connection_take_answer(c, 1, false));
        connection_give_answer(c, 1);
}

static void memory_is_bounded_for_all_together(void **state) {
        World *w = *state;
        Connection *c = w->connections;

        open_all(w);
        assert_true(connection_take_memory(&c[0], CONNECTIONS_MEMORY_MAX - 1));
        assert_false(connection_take_memory(&c[1], 2));
        assert_true(connection_take_memory(&c[1], 1));
        assert_false(connection_take_memory(&c[2], 1));
        connection_give_memory(&c[0], CONNECTIONS_MEMORY_MAX - 1);
        connection_give_memory(&c[1], 1);
        assert_true(connection_take_memory(&c[2], CONNECTIONS_MEMORY_MAX));
        assert_false(connection_take_memory(&c[1], UINT64_MAX));
        connection_give_memory(&c[2], CONNECTIONS_MEMORY_MAX);
}

static void one_user_has_at_most_half(void **state) {
        World *w = *state;
        Connection *alice = &w->connections[0], *too = &w->connections[1], *bob = &w->connections[2];

        w->config.connections_max = 4;
        assert_int_equal(connection_open(w->all, alice, w->ours[0], 1000), 0);
        assert_int_equal(connection_open(w->all, too, w->ours[1], 1000), 0);
        connection_set_phase(alice, CONNECTION_CALL);
        connection_set_phase(too, CONNECTION_CALL);
        assert_int_equal(connection_open(w->all, bob, w->ours[2], 1000), -EUSERS);
        assert_int_equal(connection_open(w->all, bob, w->ours[2], 1256), 0);
        assert_true(connection_take_memory(alice, CONNECTIONS_MEMORY_MAX / 2 - 1));
        assert_false(connection_take_memory(too, 2));
        assert_true(connection_take_memory(bob, CONNECTIONS_MEMORY_MAX / 2));
        connection_give_memory(alice, CONNECTIONS_MEMORY_MAX / 2 - 1);
        connection_give_memory(bob, CONNECTIONS_MEMORY_MAX / 2);
        assert_true(connection_take_answer(alice, CONNECTIONS_ANSWERS_MAX / 4, false));
        assert_false(connection_take_answer(too, 1, false));
        assert_true(connection_take_answer(bob, CONNECTIONS_ANSWERS_MAX / 4, false));
        connection_give_answer(alice, CONNECTIONS_ANSWERS_MAX / 4);
        connection_give_answer(bob, CONNECTIONS_ANSWERS_MAX / 4);
        connection_close(too);
        assert_int_equal(connection_open(w->all, too, w->ours[1], 1000), 0);
}

static void idle_ones_of_a_user_make_room_for_the_own(void **state) {
        World *w = *state;

        w->config.connections_max = 4;
        assert_int_equal(connection_open(w->all, &w->connections[0], w->ours[0], 1000), 0);
        assert_int_equal(connection_open(w->all, &w->connections[1], w->ours[1], 1000), 0);
        connection_set_phase(&w->connections[1], CONNECTION_IDLE);
        assert_int_equal(connection_open(w->all, &w->connections[2], w->ours[2], 1000), 0);
        assert_true(is_cut_off(w, 1));
        assert_false(is_cut_off(w, 0));
}

static void drained(void *userdata) {
        ((World *) userdata)->drained++;
}

static void draining_ends_when_the_last_has_its_answer(void **state) {
        World *w = *state;

        open_all(w);
        connection_set_phase(&w->connections[0], CONNECTION_IDLE);
        connection_set_phase(&w->connections[1], CONNECTION_CALL);
        assert_int_equal(connections_drain(w->all, USEC_PER_SEC, drained, w), 0);
        assert_true(is_cut_off(w, 0));
        assert_false(is_cut_off(w, 1));
        assert_true(is_cut_off(w, 2));
        assert_false(connections_make_room(w->all));
        connection_close(&w->connections[0]);
        connection_close(&w->connections[2]);
        connection_set_phase(&w->connections[1], CONNECTION_ANSWER);
        run_for(w, SHORT);
        assert_false(is_cut_off(w, 1));
        assert_int_equal(w->drained, 0);
        connection_set_phase(&w->connections[1], CONNECTION_IDLE);
        assert_true(is_cut_off(w, 1));
        connection_close(&w->connections[1]);
        run_for(w, SHORT);
        assert_int_equal(w->drained, 1);
}

static void draining_does_not_wait_for_ever(void **state) {
        World *w = *state;

        open_all(w);
        connection_set_phase(&w->connections[1], CONNECTION_CALL);
        assert_int_equal(connections_drain(w->all, SHORT, drained, w), 0);
        run_for(w, 3 * SHORT);
        assert_int_equal(w->drained, 1);
}

static void draining_of_nobody_ends_at_once(void **state) {
        World *w = *state;

        assert_int_equal(connections_drain(w->all, USEC_PER_SEC, drained, w), 0);
        assert_int_equal(w->drained, 0);
        run_for(w, SHORT);
        assert_int_equal(w->drained, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(who_says_nothing_is_cut_off),
                TEST(a_deadline_nearer_than_those_before_is_met),
                TEST(one_that_was_cut_off_does_not_save_the_next),
                TEST(who_waits_for_us_has_time),
                TEST(there_are_no_more_than_the_maximum),
                TEST(idle_ones_make_room),
                TEST(memory_is_bounded_for_all_together),
                TEST(half_of_the_answers_are_for_administrators),
                TEST(one_user_has_at_most_half),
                TEST(idle_ones_of_a_user_make_room_for_the_own),
                TEST(draining_ends_when_the_last_has_its_answer),
                TEST(draining_does_not_wait_for_ever),
                TEST(draining_of_nobody_ends_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
