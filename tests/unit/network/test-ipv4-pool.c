/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "network/ipv4-pool.h"

static Ipv4Pool *pool_of(const char *s) {
        Ipv4Pool *p = NULL;
        Subnet subnet;

        assert_int_equal(subnet_parse(s, &subnet), 0);
        assert_int_equal(ipv4_pool_new(&subnet, &p), 0);
        return p;
}

static void assert_taken(Ipv4Pool *p, const char *vm, const char *address) {
        char buf[ADDRESS_STRING_MAX];
        Address a;

        assert_int_equal(ipv4_pool_take(p, vm, &a), 0);
        assert_string_equal(address_format(buf, &a), address);
}

static int claim(Ipv4Pool *p, const char *vm, const char *address) {
        Address a;

        assert_int_equal(address_parse(address, &a), 0);
        return ipv4_pool_claim(p, vm, &a);
}

static void pool_is_ipv4_of_a_sane_size(void **state) {
        static const char *const bad[] = { "::/64", "10.0.0.0/31", "10.0.0.0/32", "10.0.0.0/7", "0.0.0.0/0" };
        Ipv4Pool *p = NULL;
        Subnet s;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(subnet_parse(bad[i], &s), 0);
                assert_int_equal(ipv4_pool_new(&s, &p), -EINVAL);
        }
        assert_null(p);
}

static void smallest_pool_has_two(void **state) {
        _cleanup_(ipv4_pool_freep) Ipv4Pool *p = pool_of("192.168.7.4/30");
        Address a;

        assert_taken(p, "a", "192.168.7.5");
        assert_taken(p, "b", "192.168.7.6");
        assert_taken(p, "a", "192.168.7.5");
        assert_int_equal(ipv4_pool_take(p, "c", &a), -EDQUOT);
        ipv4_pool_give_back(p, "a");
        assert_taken(p, "c", "192.168.7.5");
}

static void address_rests_before_somebody_else_gets_it(void **state) {
        _cleanup_(ipv4_pool_freep) Ipv4Pool *p = pool_of("10.0.0.0/29");

        assert_taken(p, "a", "10.0.0.1");
        ipv4_pool_give_back(p, "a");
        assert_taken(p, "b", "10.0.0.2");
        assert_taken(p, "c", "10.0.0.3");
        ipv4_pool_give_back(p, "c");
        assert_taken(p, "d", "10.0.0.4");
        assert_taken(p, "e", "10.0.0.5");
        assert_taken(p, "f", "10.0.0.6");
        assert_taken(p, "g", "10.0.0.1");
        assert_taken(p, "h", "10.0.0.3");
}

static void adopted_vm_keeps_its_address(void **state) {
        _cleanup_(ipv4_pool_freep) Ipv4Pool *p = pool_of("10.0.0.0/29");

        assert_int_equal(claim(p, "a", "10.0.0.1"), 0);
        assert_int_equal(claim(p, "a", "10.0.0.1"), 0);
        assert_int_equal(claim(p, "b", "10.0.0.1"), -EADDRINUSE);
        assert_int_equal(claim(p, "a", "10.0.0.2"), -EEXIST);
        assert_taken(p, "b", "10.0.0.2");
        assert_int_equal(claim(p, "c", "10.0.0.6"), 0);
        assert_taken(p, "c", "10.0.0.6");
}

static void foreign_address_is_not_adopted(void **state) {
        _cleanup_(ipv4_pool_freep) Ipv4Pool *p = pool_of("10.0.0.8/29");

        assert_int_equal(claim(p, "a", "10.0.0.8"), -EADDRNOTAVAIL);
        assert_int_equal(claim(p, "a", "10.0.0.15"), -EADDRNOTAVAIL);
        assert_int_equal(claim(p, "a", "10.0.0.7"), -EADDRNOTAVAIL);
        assert_int_equal(claim(p, "a", "10.0.0.16"), -EADDRNOTAVAIL);
        assert_int_equal(claim(p, "a", "::a00:9"), -EADDRNOTAVAIL);
        assert_taken(p, "a", "10.0.0.9");
}

static void giving_back_twice_is_harmless(void **state) {
        _cleanup_(ipv4_pool_freep) Ipv4Pool *p = pool_of("10.0.0.0/8");

        ipv4_pool_give_back(p, "a");
        assert_taken(p, "a", "10.0.0.1");
        ipv4_pool_give_back(p, "a");
        ipv4_pool_give_back(p, "a");
        assert_int_equal(claim(p, "b", "10.255.255.254"), 0);
        assert_taken(p, "c", "10.0.0.1");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(pool_is_ipv4_of_a_sane_size),
                cmocka_unit_test(smallest_pool_has_two),
                cmocka_unit_test(address_rests_before_somebody_else_gets_it),
                cmocka_unit_test(adopted_vm_keeps_its_address),
                cmocka_unit_test(foreign_address_is_not_adopted),
                cmocka_unit_test(giving_back_twice_is_harmless),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
