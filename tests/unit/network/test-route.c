/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "network-namespace.h"
#include "network/route.h"
#include "network/tap.h"

static Netlink *nl;

typedef struct Taps {
        int fd[2], ifindex[2];
} Taps;

static int set_up(void **state) {
        Taps *t = new0(Taps, 1);

        if (!t || tap_create(nl, "tap-00000001", &t->fd[0], &t->ifindex[0]) < 0 ||
            tap_create(nl, "tap-00000002", &t->fd[1], &t->ifindex[1]) < 0)
                return -1;
        *state = t;
        return 0;
}

static int tear_down(void **state) {
        Taps *t = *state;

        safe_close(t->fd[0]);
        safe_close(t->fd[1]);
        free(t);
        return 0;
}

static Address address_of(const char *s) {
        Address a;

        assert_int_equal(address_parse(s, &a), 0);
        return a;
}

static Subnet subnet_of(const char *s) {
        Subnet subnet;

        assert_int_equal(subnet_parse(s, &subnet), 0);
        return subnet;
}

/* The links of our routes to it, or -1 for none. 0 is a cover. */
static int routed(const char *to) {
        Subnet s = subnet_of(to);
        _cleanup_free_ Route *routes = NULL;
        int found = -1;
        size_t n;

        assert_int_equal(route_list(nl, &routes, &n), 0);
        for (size_t i = 0; i < n; i++)
                if (subnet_equal(&routes[i].to, &s)) {
                        assert_int_equal(found, -1);
                        found = routes[i].ifindex;
                }
        return found;
}

static size_t count_routes(void) {
        _cleanup_free_ Route *routes = NULL;
        size_t n;

        assert_int_equal(route_list(nl, &routes, &n), 0);
        return n;
}

static void route_is_set_moved_and_removed(void **state) {
        static const char *const addresses[] = { "500::ff0f:1:2:3", "10.9.8.7" };
        Taps *t = *state;

        for (size_t i = 0; i < ELEMENTSOF(addresses); i++) {
                Address a = address_of(addresses[i]);
                char to[ADDRESS_STRING_MAX + 4];

                (void) snprintf(to, sizeof(to), "%s/%u", addresses[i], address_bits(&a));
                assert_int_equal(route_set(nl, &a, t->ifindex[0]), 0);
                assert_int_equal(routed(to), t->ifindex[0]);
                assert_int_equal(route_set(nl, &a, t->ifindex[0]), 0);
                assert_int_equal(routed(to), t->ifindex[0]);
                assert_int_equal(route_set(nl, &a, t->ifindex[1]), 0);
                assert_int_equal(routed(to), t->ifindex[1]);

                /* It has moved: who removes the old one does not hit the new one. */
                assert_int_equal(route_remove(nl, &a, t->ifindex[0]), 0);
                assert_int_equal(routed(to), t->ifindex[1]);
                assert_int_equal(route_remove(nl, &a, t->ifindex[1]), 0);
                assert_int_equal(routed(to), -1);
                assert_int_equal(route_remove(nl, &a, 0), 0);

                assert_int_equal(route_set(nl, &a, t->ifindex[1]), 0);
                assert_int_equal(route_remove(nl, &a, 0), 0);
                assert_int_equal(routed(to), -1);
        }
        assert_int_equal(count_routes(), 0);
}

static void kernel_finds_the_vm_behind_the_route(void **state) {
        Address a = address_of("500::ff0f:1:2:3"), b = address_of("10.9.8.7");
        Taps *t = *state;

        assert_int_equal(route_set(nl, &a, t->ifindex[0]), 0);
        assert_int_equal(route_set(nl, &b, t->ifindex[1]), 0);
        assert_int_equal(system("ip -6 route get 500::ff0f:1:2:3 | grep -q 'dev tap-00000001'"), 0);
        assert_int_equal(system("ip route get 10.9.8.7 | grep -q 'dev tap-00000002'"), 0);
}

static void routes_go_with_the_tap(void **state) {
        Address a = address_of("500::ff0f:1:2:3"), b = address_of("10.9.8.7");
        Taps *t = *state;

        assert_int_equal(route_set(nl, &a, t->ifindex[0]), 0);
        assert_int_equal(route_set(nl, &b, t->ifindex[0]), 0);
        t->fd[0] = safe_close(t->fd[0]);
        assert_int_equal(count_routes(), 0);
        assert_int_equal(route_remove(nl, &a, t->ifindex[0]), 0);
        assert_int_equal(route_remove(nl, &b, t->ifindex[0]), 0);
}

static void route_needs_a_link_that_is_up(void **state) {
        static const char *const addresses[] = { "500::1", "10.9.8.7" };

        assert_int_equal(system("ip tuntap add dev down0 mode tap"), 0);
        for (size_t i = 0; i < ELEMENTSOF(addresses); i++) {
                Address a = address_of(addresses[i]);

                assert_int_equal(route_set(nl, &a, 0), -ENODEV);
                assert_int_equal(route_set(nl, &a, 1 << 20), -ENODEV);
                assert_int_equal(route_set(nl, &a, (int) if_nametoindex("down0")), -ENETDOWN);
        }
        assert_int_equal(system("ip link del down0"), 0);
        assert_int_equal(count_routes(), 0);
}

static void covered_subnet_answers_at_once(void **state) {
        static const char *const subnets[] = { "500::/64", "10.9.0.0/16" };

        for (size_t i = 0; i < ELEMENTSOF(subnets); i++) {
                Subnet s = subnet_of(subnets[i]);

                assert_int_equal(route_cover(nl, &s), 0);
                assert_int_equal(route_cover(nl, &s), 0);
                assert_int_equal(routed(subnets[i]), 0);
        }
        assert_int_equal(system("ip -6 route show 500::/64 | grep -q '^unreachable 500::/64.*metric 4096'"), 0);
        assert_int_not_equal(system("ip -6 route get 500::1 2>/dev/null >&2"), 0);
        assert_int_equal(system("ip route get 10.9.0.1 2>&1 | grep -q 'No route to host'"), 0);
        for (size_t i = 0; i < ELEMENTSOF(subnets); i++) {
                Subnet s = subnet_of(subnets[i]);

                assert_int_equal(route_uncover(nl, &s), 0);
                assert_int_equal(route_uncover(nl, &s), 0);
        }
        assert_int_equal(count_routes(), 0);
}

/* Same destination, same link: what an administrator made is neither replaced nor removed. */
static void routes_of_others_stay(void **state) {
        Address a = address_of("500::ff0f:1:2:3"), b = address_of("10.9.8.7");
        Subnet s = subnet_of("500::/64");
        Taps *t = *state;

        assert_int_equal(system("ip -6 route add 500::ff0f:1:2:3 dev tap-00000002 && "
                                "ip route add 10.9.8.7 dev tap-00000002 && "
                                "ip -6 route add unreachable 500::/64 metric 4096"), 0);
        assert_int_equal(count_routes(), 0);
        assert_int_equal(route_set(nl, &a, t->ifindex[0]), 0);
        assert_int_equal(route_set(nl, &b, t->ifindex[0]), 0);
        assert_int_equal(route_cover(nl, &s), -EEXIST);
        assert_int_equal(route_uncover(nl, &s), 0);
        assert_int_equal(route_remove(nl, &a, 0), 0);
        assert_int_equal(route_remove(nl, &b, 0), 0);
        assert_int_equal(route_remove(nl, &a, t->ifindex[1]), 0);
        assert_int_equal(route_remove(nl, &b, t->ifindex[1]), 0);
        assert_int_equal(count_routes(), 0);

        assert_int_equal(system("ip -6 route add 500::ff0f:1:2:3 dev tap-00000001 metric 64 && "
                                "ip route add 10.9.8.7 dev tap-00000001 metric 64"), 0);
        assert_int_equal(route_remove(nl, &a, t->ifindex[0]), 0);
        assert_int_equal(route_remove(nl, &b, t->ifindex[0]), 0);
        assert_int_equal(system("ip -6 route show | grep -q '^500::ff0f:1:2:3 dev tap-00000001.*metric 64' && "
                                "ip route show | grep -q '^10.9.8.7 dev tap-00000001.*metric 64'"), 0);
        assert_int_equal(system("ip -6 route show | grep -q '^500::ff0f:1:2:3 dev tap-00000002' && "
                                "ip route show | grep -q '^10.9.8.7 dev tap-00000002' && "
                                "ip -6 route del unreachable 500::/64 metric 4096"), 0);
}

static void thousands_of_routes_are_listed(void **state) {
        Taps *t = *state;

        for (unsigned i = 0; i < 2000; i++) {
                Address a = address_of("500::ff0f:0:0:0");

                a.bytes[15] = (uint8_t) i;
                a.bytes[14] = (uint8_t) (i >> 8);
                assert_int_equal(route_set(nl, &a, t->ifindex[i % 2]), 0);
        }
        assert_int_equal(count_routes(), 2000);
}

int main(void) {
#define ROUTE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                ROUTE_TEST(route_is_set_moved_and_removed),
                ROUTE_TEST(kernel_finds_the_vm_behind_the_route),
                ROUTE_TEST(routes_go_with_the_tap),
                ROUTE_TEST(route_needs_a_link_that_is_up),
                ROUTE_TEST(covered_subnet_answers_at_once),
                ROUTE_TEST(routes_of_others_stay),
                ROUTE_TEST(thousands_of_routes_are_listed),
        };
        int r = enter_network_namespace();

        if (r != 0)
                return r;
        r = netlink_open(&nl);
        if (r < 0) {
                fprintf(stderr, "No netlink: %s\n", strerror(-r));
                return 1;
        }
        r = cmocka_run_group_tests(tests, NULL, NULL);
        nl = netlink_close(nl);
        return r;
}
