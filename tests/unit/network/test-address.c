/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "network/address.h"

static void text_and_value_agree(void **state) {
        static const char *const good[] = { "0.0.0.0",     "10.1.2.3",  "255.255.255.255", "::", "::1", "fe80::1",
                                            "54f:b680:ba6e:7ced:ff0f:1:2:3", "2001:db8::1:0:0:1" };
        char buf[ADDRESS_STRING_MAX];

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                Address a;

                assert_int_equal(address_parse(good[i], &a), 0);
                assert_string_equal(address_format(buf, &a), good[i]);
        }
}

static void nothing_but_an_address_is_one(void **state) {
        static const char *const bad[] = {
                "",      " ",    "10.1.2", "10.1.2.3.4",        "10.1.2.256",  "010.1.2.3", "fe80::1%eth0", " ::1",
                "::1 ",  "::g",  ":::",    "1:2:3:4:5:6:7:8:9", "10.1.2.3/32", "::1/128",   "[::1]",        "localhost",
        };
        Address a = { .family = 7 };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (address_parse(bad[i], &a) != -EINVAL)
                        fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(a.family, 7);
}

static void subnet_is_masked_to_its_prefix(void **state) {
        static const struct {
                const char *text, *masked;
        } cases[] = {
                { "54f:b680:ba6e:7ced::/64", "54f:b680:ba6e:7ced::/64" },
                { "54f:b680:ba6e:7ced:abcd:1234:5678:9abc/64", "54f:b680:ba6e:7ced::/64" },
                { "ffff:ffff::/7", "fe00::/7" },
                { "::ffff/127", "::fffe/127" },
                { "1::ffff/128", "1::ffff/128" },
                { "ffff::/0", "::/0" },
                { "10.255.255.255/9", "10.128.0.0/9" },
                { "10.1.2.3/32", "10.1.2.3/32" },
        };
        char buf[SUBNET_STRING_MAX];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Subnet s;

                assert_int_equal(subnet_parse(cases[i].text, &s), 0);
                assert_string_equal(subnet_format(buf, &s), cases[i].masked);
        }
}

static void nothing_but_a_subnet_is_one(void **state) {
        static const char *const bad[] = {
                "",       "/",      "/64",         "::",           "::/",  "::/129", "::/-1", "::/+1",
                "::/ 1",  "::/1 ",  "10.0.0.0/33", "10.0.0.0/8/8", "x/64", "::/99999999999999999999",
                "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/64",
        };
        Subnet s = { .prefix = 7 };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (subnet_parse(bad[i], &s) != -EINVAL)
                        fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(s.prefix, 7);
}

static void longest_text_fits(void **state) {
        static const char longest[] = "1111:1111:1111:1111:1111:1111:1111:1111/128";
        char buf[SUBNET_STRING_MAX];
        Subnet s;

        assert_int_equal(subnet_parse(longest, &s), 0);
        assert_string_equal(subnet_format(buf, &s), longest);
}

static bool contains(const char *subnet, const char *address) {
        Address a;
        Subnet s;

        assert_int_equal(subnet_parse(subnet, &s), 0);
        assert_int_equal(address_parse(address, &a), 0);
        return subnet_contains(&s, &a);
}

static void subnet_knows_its_own(void **state) {
        assert_true(contains("400::/7", "5ff::1"));
        assert_false(contains("400::/7", "600::1"));
        assert_true(contains("10.8.0.0/14", "10.11.255.255"));
        assert_false(contains("10.8.0.0/14", "10.12.0.0"));
        assert_false(contains("0.0.0.0/0", "::"));
        assert_false(contains("::/0", "0.0.0.0"));
}

static void unique_local_subnet_is_the_hosts_own(void **state) {
        AddressKey one = { { 1 } }, two = { { 2 } };
        Subnet a, b, again;
        char buf[SUBNET_STRING_MAX];

        subnet_unique_local(&one, &a);
        subnet_unique_local(&one, &again);
        subnet_unique_local(&two, &b);
        assert_true(subnet_equal(&a, &again));
        assert_false(subnet_equal(&a, &b));
        assert_int_equal(a.prefix, 64);
        assert_int_equal(strncmp(subnet_format(buf, &a), "fd", 2), 0);
        assert_int_equal(subnet_parse(buf, &again), 0);
        assert_true(subnet_equal(&a, &again));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(text_and_value_agree),
                cmocka_unit_test(nothing_but_an_address_is_one),
                cmocka_unit_test(subnet_is_masked_to_its_prefix),
                cmocka_unit_test(nothing_but_a_subnet_is_one),
                cmocka_unit_test(longest_text_fits),
                cmocka_unit_test(subnet_knows_its_own),
                cmocka_unit_test(unique_local_subnet_is_the_hosts_own),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
