/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "basic/string-util.h"
#include "basic/strv.h"
#include "network/resolv-conf.h"

static void servers_are_found_in_their_order(void **state) {
        _cleanup_strv_free_ char **l = NULL;

        assert_int_equal(resolv_conf_parse("# of some daemon\nsearch example\nnameserver 192.0.2.1\n"
                                           "nameserver\t2001:db8::1 # the second\r\noptions rotate", &l), 0);
        assert_int_equal(strv_length(l), 2);
        assert_string_equal(l[0], "192.0.2.1");
        assert_string_equal(l[1], "2001:db8::1");
}

static void what_a_guest_cannot_ask_is_left_out(void **state) {
        _cleanup_strv_free_ char **l = NULL;

        assert_int_equal(resolv_conf_parse("nameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver\n"
                                           "nameservers 192.0.2.2\n#nameserver 192.0.2.3\nnameserver not-an-address\n", &l), 0);
        assert_null(l);
}

static void words_without_end_are_no_address(void **state) {
        static char text[5000] = "nameserver ";
        _cleanup_strv_free_ char **l = NULL;

        memset(text + 11, '1', sizeof(text) - 12);
        assert_int_equal(resolv_conf_parse(text, &l), 0);
        assert_null(l);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(servers_are_found_in_their_order),
                cmocka_unit_test(what_a_guest_cannot_ask_is_left_out),
                cmocka_unit_test(words_without_end_are_no_address),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
