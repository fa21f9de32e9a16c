/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "network/address-book.h"

static const AddressKey key = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };

static Subnet subnet_of(const char *s) {
        Subnet subnet;

        assert_int_equal(subnet_parse(s, &subnet), 0);
        return subnet;
}

static int new_book(void **state) {
        return address_book_new(&key, (AddressBook **) state);
}

static int free_book(void **state) {
        address_book_free(*state);
        return 0;
}

static Address take(AddressBook *b, const char *user, const char *subnet) {
        Subnet s = subnet_of(subnet);
        uint32_t counter = 0;
        Address a;

        assert_int_equal(address_book_take(b, user, &counter), 0);
        assert_int_equal(counter, 0);
        assert_int_equal(address_book_address(b, user, &s, &a), 0);
        return a;
}

/* A change of this value gives every user of every host another address. */
static void address_has_the_shape_that_is_promised(void **state) {
        Address a = take(*state, "alice", "54f:b680:ba6e:7ced::/64");
        char buf[ADDRESS_STRING_MAX];

        assert_string_equal(address_format(buf, &a), "54f:b680:ba6e:7ced:ff0f:24f8:27c0:9f3c");
}

static void user_has_the_same_address_again(void **state) {
        Address a = take(*state, "alice", "5::/64"), b;
        AddressBook *other;

        address_book_give_back(*state, "alice");
        b = take(*state, "alice", "5::/64");
        assert_true(address_equal(&a, &b));

        assert_int_equal(address_book_new(&key, &other), 0);
        take(other, "bob", "5::/64");
        b = take(other, "alice", "5::/64");
        assert_true(address_equal(&a, &b));
        address_book_free(other);
}

static void key_of_another_host_gives_another_address(void **state) {
        const AddressKey another = { { 1 } };
        Address a = take(*state, "alice", "5::/64"), b;
        AddressBook *other;

        assert_int_equal(address_book_new(&another, &other), 0);
        b = take(other, "alice", "5::/64");
        assert_false(address_equal(&a, &b));
        address_book_free(other);
}

static void change_of_the_subnet_keeps_the_rest(void **state) {
        Address a = take(*state, "alice", "500::/64"), b = take(*state, "alice", "501::/64");
        const Subnet old = subnet_of("500::/64"), new = subnet_of("501::/64");

        assert_memory_not_equal(a.bytes, b.bytes, 8);
        assert_memory_equal(a.bytes + 8, b.bytes + 8, 8);
        assert_string_equal(address_book_user(*state, &new, &b), "alice");
        assert_string_equal(address_book_user(*state, &old, &a), "alice");
        assert_null(address_book_user(*state, &new, &a));
}

static void address_leads_to_its_user(void **state) {
        const Subnet s = subnet_of("500::/64");
        Address a = take(*state, "alice", "500::/64"), b = take(*state, "bob", "500::/64"), stranger;

        assert_string_equal(address_book_user(*state, &s, &a), "alice");
        assert_string_equal(address_book_user(*state, &s, &b), "bob");
        assert_int_equal(address_parse("500::ff0f:1:2:3", &stranger), 0);
        assert_null(address_book_user(*state, &s, &stranger));
        stranger = a;
        stranger.bytes[8] = 0;
        assert_null(address_book_user(*state, &s, &stranger));
        assert_int_equal(address_parse("10.0.0.1", &stranger), 0);
        assert_null(address_book_user(*state, &s, &stranger));

        address_book_give_back(*state, "alice");
        assert_null(address_book_user(*state, &s, &a));
        assert_int_equal(address_book_address(*state, "alice", &s, &stranger), -ENOENT);
        address_book_give_back(*state, "alice");
}

static void only_a_slash_64_has_addresses_for_users(void **state) {
        static const char *const bad[] = { "500::/63", "500::/65", "500::/128", "10.0.0.0/8" };
        Address a = take(*state, "alice", "500::/64");

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const Subnet s = subnet_of(bad[i]);

                assert_int_equal(address_book_address(*state, "alice", &s, &a), -EINVAL);
                assert_null(address_book_user(*state, &s, &a));
        }
}

/* No two texts that collide can be found here, but the counter is what tells them apart. */
static void counter_of_the_record_is_what_counts(void **state) {
        const Subnet s = subnet_of("500::/64");
        Address a = take(*state, "alice", "500::/64"), b;
        uint32_t counter = 3;

        address_book_give_back(*state, "alice");
        assert_int_equal(address_book_take(*state, "alice", &counter), 0);
        assert_int_equal(counter, 3);
        assert_int_equal(address_book_address(*state, "alice", &s, &b), 0);
        assert_false(address_equal(&a, &b));

        counter = 0;
        assert_int_equal(address_book_take(*state, "alice", &counter), 0);
        assert_int_equal(counter, 3);
}

static void ten_thousand_users_have_as_many_addresses(void **state) {
        const Subnet s = subnet_of("500::/64");
        char user[32];

        for (unsigned i = 0; i < 10000; i++) {
                (void) snprintf(user, sizeof(user), "user-%u", i);
                take(*state, user, "500::/64");
        }
        for (unsigned i = 0; i < 10000; i++) {
                Address a;

                (void) snprintf(user, sizeof(user), "user-%u", i);
                assert_int_equal(address_book_address(*state, user, &s, &a), 0);
                assert_string_equal(address_book_user(*state, &s, &a), user);
        }
}

int main(void) {
#define BOOK_TEST(f) cmocka_unit_test_setup_teardown(f, new_book, free_book)
        const struct CMUnitTest tests[] = {
                BOOK_TEST(address_has_the_shape_that_is_promised),
                BOOK_TEST(user_has_the_same_address_again),
                BOOK_TEST(key_of_another_host_gives_another_address),
                BOOK_TEST(change_of_the_subnet_keeps_the_rest),
                BOOK_TEST(address_leads_to_its_user),
                BOOK_TEST(only_a_slash_64_has_addresses_for_users),
                BOOK_TEST(counter_of_the_record_is_what_counts),
                BOOK_TEST(ten_thousand_users_have_as_many_addresses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
