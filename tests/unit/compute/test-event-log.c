/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/event-log.h"

static void a_ring_keeps_the_last_in_order(void **state) {
        EventRing ring = { .max = 10 };

        for (unsigned i = 1; i <= 25; i++) {
                Event *e = event_new(i, "vm", VM_RUNNING, VM_SUSPENDING, "because");

                assert_int_equal(event_ring_push(&ring, e), 0);
                event_unref(e);
                assert_int_equal(ring.n, i < 10 ? i : 10);
                assert_int_equal(event_ring_get(&ring, ring.n - 1)->sequence, i);
                assert_int_equal(event_ring_get(&ring, 0)->sequence, i < 10 ? 1 : i - 9);
        }
        event_ring_done(&ring);
}

static void two_rings_share_an_event(void **state) {
        EventRing a = { .max = 4 }, b = { .max = 64 };
        Event *e = event_new(7, "alice", VM_PENDING, VM_FAILED, "no disk");

        assert_int_equal(event_ring_push(&a, e), 0);
        assert_int_equal(event_ring_push(&b, e), 0);
        event_unref(e);
        event_ring_done(&a);
        assert_string_equal(event_ring_get(&b, 0)->reason, "no disk");
        assert_string_equal(event_ring_get(&b, 0)->vm, "alice");
        event_ring_done(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_ring_keeps_the_last_in_order),
                cmocka_unit_test(two_rings_share_an_event),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
