/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "compute/idle-policy.h"

#define SEC UINT64_C(1000000)
#define INTERVAL (10 * SEC)
#define TIMEOUT (60 * SEC)
#define BEGIN (1000 * SEC)

static const IdleSettings settings = {
        .signals = IDLE_ALL_SIGNALS,
        .interval = INTERVAL,
        .network_noise = 2048,
        .cpu_threshold = 2, /* 200 ms in 10 s */
};

/* A VM that was started at BEGIN and looked at once, an interval later. */
static const IdleSample first = { .time = BEGIN + INTERVAL, .bytes = 5000, .cpu = 3 * SEC, .used = BEGIN };

static IdleClock clock_new(void) {
        IdleClock c = {};

        idle_clock_start(&c, BEGIN, IDLE_WOKEN);
        assert_false(idle_clock_check(&c, &settings, &first));
        return c;
}

/* The next check, an interval later, of a VM that did nothing but what the sample says. */
static IdleSample next(void) {
        IdleSample s = first;

        s.time += INTERVAL;
        return s;
}

static void what_nobody_uses_is_due_when_its_time_is_over(void **state) {
        IdleClock c = clock_new();
        IdleSample s = first;

        assert_int_equal(c.reason, IDLE_WOKEN);
        for (unsigned i = 1; i <= 6; i++) {
                s.time += INTERVAL;
                assert_true(idle_clock_check(&c, &settings, &s));
                assert_int_equal(c.reason, IDLE_NOTHING);
                assert_int_equal(c.active, first.time);
                assert_int_equal(idle_clock_end(&c, TIMEOUT), first.time + TIMEOUT);
                assert_int_equal(idle_clock_is_due(&c, s.time, TIMEOUT), i == 6);
        }
        assert_false(idle_clock_is_due(&c, s.time, UINT64_MAX));
        assert_true(idle_clock_end(&c, UINT64_MAX) == UINT64_MAX);
}

static void what_was_never_looked_at_is_not_due(void **state) {
        IdleClock c = {};

        idle_clock_start(&c, BEGIN, IDLE_WOKEN);
        assert_false(idle_clock_is_due(&c, BEGIN + 10 * TIMEOUT, TIMEOUT));
}

typedef struct Case {
        IdleSample sample; /* what is added to the first one */
        IdleReason reason;
} Case;

static void every_signal_keeps_a_vm_awake_beyond_its_threshold(void **state) {
        static const Case cases[] = {
                { { .bytes = 2048 }, IDLE_NOTHING },
                { { .bytes = 2049 }, IDLE_ON_NETWORK },
                { { .cpu = SEC / 5 }, IDLE_NOTHING },
                { { .cpu = SEC / 5 + 1 }, IDLE_COMPUTES },
                { { .sessions = 1 }, IDLE_IN_SESSION },
                { { .used = INTERVAL + 5 * SEC }, IDLE_USED },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const IdleSample *d = &cases[i].sample;
                IdleClock c = clock_new();
                IdleSample s = next();

                s.bytes += d->bytes;
                s.cpu += d->cpu;
                s.sessions += d->sessions;
                s.used += d->used;
                assert_int_equal(idle_clock_check(&c, &settings, &s), cases[i].reason == IDLE_NOTHING);
                assert_int_equal(c.reason, cases[i].reason);
                /* For what has a time of its own, it is that. */
                assert_int_equal(c.active, cases[i].reason == IDLE_NOTHING ? first.time :
                                           cases[i].reason == IDLE_USED    ? s.used :
                                                                             s.time);
        }
}

static void signal_that_is_left_out_is_not_looked_at(void **state) {
        for (IdleSignal left = IDLE_NETWORK; left <= IDLE_SESSIONS; left <<= 1) {
                IdleSettings some = settings;
                IdleClock c = clock_new();
                IdleSample s = next();

                some.signals &= ~(unsigned) left;
                if (left == IDLE_NETWORK)
                        s.bytes = IDLE_UNKNOWN;
                else if (left == IDLE_CPU)
                        s.cpu = IDLE_UNKNOWN;
                else {
                        s.sessions = 3;
                        s.used = s.time;
                }
                assert_true(idle_clock_check(&c, &some, &s));
                assert_int_equal(c.reason, IDLE_NOTHING);
        }
}

static void what_cannot_be_read_counts_as_used(void **state) {
        IdleClock c = clock_new();
        IdleSample s = next();

        s.bytes = IDLE_UNKNOWN;
        assert_false(idle_clock_check(&c, &settings, &s));
        assert_int_equal(c.reason, IDLE_NETWORK_UNKNOWN);
        assert_int_equal(c.active, s.time);

        c = clock_new();
        s = next();
        s.cpu = IDLE_UNKNOWN;
        assert_false(idle_clock_check(&c, &settings, &s));
        assert_int_equal(c.reason, IDLE_CPU_UNKNOWN);

        /* Nothing to compare with, yet. */
        s = next();
        s.time += INTERVAL;
        assert_false(idle_clock_check(&c, &settings, &s));
        s.time += INTERVAL;
        assert_true(idle_clock_check(&c, &settings, &s));
}

static void counter_that_goes_backwards_tells_nothing(void **state) {
        IdleClock c = clock_new();
        IdleSample s = next();

        s.bytes = 0;
        assert_false(idle_clock_check(&c, &settings, &s));
        assert_int_equal(c.reason, IDLE_NETWORK_UNKNOWN);
        c = clock_new();
        s = next();
        s.cpu = 0;
        assert_false(idle_clock_check(&c, &settings, &s));
        assert_int_equal(c.reason, IDLE_CPU_UNKNOWN);
}

static void vm_without_a_network_has_no_traffic(void **state) {
        IdleClock c = {};
        IdleSample s = first;

        idle_clock_start(&c, BEGIN, IDLE_WOKEN);
        s.no_network = true;
        s.bytes = IDLE_UNKNOWN;
        assert_false(idle_clock_check(&c, &settings, &s));
        s.time += TIMEOUT;
        assert_true(idle_clock_check(&c, &settings, &s));
        assert_true(idle_clock_is_due(&c, s.time, TIMEOUT));
        assert_false(idle_clock_needs_flows(&c, &settings, s.time, TIMEOUT));
}

static void check_that_comes_late_may_find_more(void **state) {
        IdleClock c = clock_new();
        IdleSample s = first;

        s.time += 3 * INTERVAL;
        s.bytes += 3 * 2048;
        s.cpu += 3 * SEC / 5;
        assert_true(idle_clock_check(&c, &settings, &s));
        s.time += INTERVAL;
        s.bytes += 2049;
        assert_false(idle_clock_check(&c, &settings, &s));
}

/* Else whoever looks often enough sees nothing. */
static void looking_twice_within_an_interval_does_not_divide_the_traffic(void **state) {
        IdleClock c = clock_new();
        IdleSample s = first;

        for (unsigned i = 0; i < 4; i++) {
                s.time += INTERVAL / 5;
                s.bytes += 600;
                assert_int_equal(idle_clock_check(&c, &settings, &s), i < 3);
        }
        assert_int_equal(c.reason, IDLE_ON_NETWORK);
        assert_int_equal(c.active, s.time);
}

static void hold_keeps_a_vm_awake_until_it_is_over_and_then_the_time_begins(void **state) {
        IdleClock c = clock_new();
        IdleSample s = next();

        idle_clock_hold(&c, first.time, 100 * SEC);
        assert_int_equal(c.reason, IDLE_HELD);
        assert_int_equal(idle_clock_end(&c, TIMEOUT), first.time + 100 * SEC + TIMEOUT);
        for (; s.time < first.time + 100 * SEC; s.time += INTERVAL) {
                assert_false(idle_clock_check(&c, &settings, &s));
                assert_int_equal(c.reason, IDLE_HELD);
                assert_false(idle_clock_is_due(&c, s.time, 1));
        }
        assert_true(idle_clock_check(&c, &settings, &s));
        assert_false(idle_clock_is_due(&c, s.time, TIMEOUT));
        s.time += TIMEOUT;
        assert_true(idle_clock_check(&c, &settings, &s));
        assert_true(idle_clock_is_due(&c, s.time, TIMEOUT));
}

static void hold_can_be_ended_and_replaced_and_is_bounded(void **state) {
        IdleClock c = clock_new();

        idle_clock_hold(&c, first.time, 100 * SEC);
        idle_clock_hold(&c, first.time, 10 * SEC);
        assert_int_equal(c.held, first.time + 10 * SEC);
        idle_clock_hold(&c, first.time + SEC, 0);
        assert_int_equal(c.held, 0);
        assert_int_equal(c.active, first.time + SEC);
        idle_clock_hold(&c, first.time, UINT64_MAX);
        assert_int_equal(c.held, first.time + IDLE_HOLD_MAX);

        /* Ending what is not there is no sign of life. */
        c = clock_new();
        idle_clock_hold(&c, first.time + SEC, 0);
        assert_int_equal(c.active, first.time);
}

static void waking_begins_anew_but_does_not_end_a_hold(void **state) {
        IdleClock c = clock_new();

        idle_clock_hold(&c, first.time, 100 * SEC);
        idle_clock_start(&c, first.time + SEC, IDLE_WOKEN);
        assert_int_equal(c.active, first.time + SEC);
        assert_int_equal(c.held, first.time + 100 * SEC);
        assert_false(c.sampled);
}

static void touch_sets_the_time_back_whatever_is_looked_at(void **state) {
        IdleSettings some = settings;
        IdleClock c = clock_new();
        IdleSample s = next();

        some.signals = IDLE_CPU;
        idle_clock_touch(&c, first.time + SEC, IDLE_TOUCHED);
        assert_int_equal(c.reason, IDLE_TOUCHED);
        assert_true(idle_clock_check(&c, &some, &s));
        assert_int_equal(idle_clock_end(&c, TIMEOUT), first.time + SEC + TIMEOUT);
}

static void connections_are_looked_for_only_when_nothing_else_keeps_it_awake(void **state) {
        IdleClock c = clock_new();
        IdleSample s = next();

        assert_true(idle_clock_check(&c, &settings, &s));
        assert_false(idle_clock_needs_flows(&c, &settings, s.time, TIMEOUT));
        s.time = first.time + TIMEOUT;
        assert_true(idle_clock_check(&c, &settings, &s));
        assert_true(idle_clock_needs_flows(&c, &settings, s.time, TIMEOUT));
        assert_false(idle_clock_needs_flows(&c, &settings, s.time, UINT64_MAX));
}

static void connection_keeps_a_vm_awake_and_the_time_begins_when_it_ends(void **state) {
        static const int answers[] = { 1, -EPERM };

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                IdleClock c = clock_new();
                IdleSample s = first;

                s.time += TIMEOUT;
                assert_true(idle_clock_check(&c, &settings, &s));
                idle_clock_flows(&c, s.time, answers[i]);
                assert_int_equal(c.reason, i == 0 ? IDLE_CONNECTED : IDLE_FLOWS_UNKNOWN);
                assert_false(idle_clock_is_due(&c, s.time, 0));
                s.time += INTERVAL;
                assert_true(idle_clock_check(&c, &settings, &s));
                /* It is watched from now on, and goes on being the reason. */
                assert_int_equal(c.reason, i == 0 ? IDLE_CONNECTED : IDLE_FLOWS_UNKNOWN);
                assert_true(idle_clock_needs_flows(&c, &settings, s.time, TIMEOUT));
                idle_clock_flows(&c, s.time, 0);
                assert_int_equal(c.reason, IDLE_NOTHING);
                assert_int_equal(c.active, first.time + TIMEOUT);
                assert_false(idle_clock_is_due(&c, s.time, TIMEOUT));
                assert_true(idle_clock_is_due(&c, first.time + 2 * TIMEOUT, TIMEOUT));
        }
}

static void connections_that_are_no_signal_any_more_are_forgotten(void **state) {
        IdleSettings some = settings;
        IdleClock c = clock_new();
        IdleSample s = next();

        idle_clock_flows(&c, first.time, 1);
        some.signals &= ~(unsigned) IDLE_FLOWS;
        assert_true(idle_clock_check(&c, &some, &s));
        assert_int_equal(c.reason, IDLE_NOTHING);
        assert_false(idle_clock_needs_flows(&c, &some, s.time, 0));
}

static void hold_survives_what_happens_to_the_clock_on_the_wall(void **state) {
        assert_int_equal(idle_hold_left(1000 * SEC, 400 * SEC), 600 * SEC);
        assert_int_equal(idle_hold_left(1000 * SEC, 1000 * SEC), 0);
        assert_int_equal(idle_hold_left(1000 * SEC, 2000 * SEC), 0);
        assert_int_equal(idle_hold_left(0, 2000 * SEC), 0);
        /* Set back by years: no longer than it can have been asked for. */
        assert_int_equal(idle_hold_left(UINT64_C(1700000000) * SEC, SEC), IDLE_HOLD_MAX);
}

static void every_reason_has_its_sentence(void **state) {
        assert_string_equal(idle_reason_sentence(IDLE_NOTHING), "");
        for (IdleReason r = IDLE_NOTHING + 1; r < _IDLE_REASON_MAX; r++)
                assert_true(strlen(idle_reason_sentence(r)) > 10);
        assert_string_equal(idle_reason_sentence(_IDLE_REASON_MAX), "");
}

static void signals_are_a_list_of_known_words(void **state) {
        unsigned u = 77;

        assert_int_equal(idle_signals_parse("", &u), -EINVAL);
        assert_int_equal(idle_signals_parse(" ", &u), -EINVAL);
        assert_int_equal(idle_signals_parse("net", &u), -EINVAL);
        assert_int_equal(idle_signals_parse("cpu,flows", &u), -EINVAL);
        assert_int_equal(idle_signals_parse("cpu networks", &u), -EINVAL);
        assert_int_equal(u, 77);
        assert_int_equal(idle_signals_parse("cpu", &u), 0);
        assert_int_equal(u, IDLE_CPU);
        assert_int_equal(idle_signals_parse(" flows  sessions\tnetwork cpu cpu", &u), 0);
        assert_int_equal(u, IDLE_ALL_SIGNALS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_nobody_uses_is_due_when_its_time_is_over),
                cmocka_unit_test(what_was_never_looked_at_is_not_due),
                cmocka_unit_test(every_signal_keeps_a_vm_awake_beyond_its_threshold),
                cmocka_unit_test(signal_that_is_left_out_is_not_looked_at),
                cmocka_unit_test(what_cannot_be_read_counts_as_used),
                cmocka_unit_test(counter_that_goes_backwards_tells_nothing),
                cmocka_unit_test(vm_without_a_network_has_no_traffic),
                cmocka_unit_test(check_that_comes_late_may_find_more),
                cmocka_unit_test(looking_twice_within_an_interval_does_not_divide_the_traffic),
                cmocka_unit_test(hold_keeps_a_vm_awake_until_it_is_over_and_then_the_time_begins),
                cmocka_unit_test(hold_can_be_ended_and_replaced_and_is_bounded),
                cmocka_unit_test(waking_begins_anew_but_does_not_end_a_hold),
                cmocka_unit_test(touch_sets_the_time_back_whatever_is_looked_at),
                cmocka_unit_test(connections_are_looked_for_only_when_nothing_else_keeps_it_awake),
                cmocka_unit_test(connection_keeps_a_vm_awake_and_the_time_begins_when_it_ends),
                cmocka_unit_test(connections_that_are_no_signal_any_more_are_forgotten),
                cmocka_unit_test(hold_survives_what_happens_to_the_clock_on_the_wall),
                cmocka_unit_test(every_reason_has_its_sentence),
                cmocka_unit_test(signals_are_a_list_of_known_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
