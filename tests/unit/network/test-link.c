/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "network-namespace.h"
#include "network/link.h"

static Netlink *nl;

static void link_is_found_by_name(void **state) {
        Link link = { .ifindex = 7 };

        assert_int_equal(link_find(nl, "lo", &link), 0);
        assert_string_equal(link.name, "lo");
        assert_string_equal(link.kind, "");
        assert_int_equal(link.type, ARPHRD_LOOPBACK);
        assert_int_equal(link.ifindex, 1);
}

static void link_that_is_not_there_is_said_so(void **state) {
        Link link = { .ifindex = 7 };

        assert_int_equal(link_find(nl, "nobody", &link), -ENODEV);
        assert_int_equal(link_find(nl, "", &link), -ENODEV);
        assert_int_equal(link_find(nl, "a-name-longer-than-any", &link), -ENODEV);
        assert_int_equal(link.ifindex, 7);
        assert_int_equal(link_change(nl, 1 << 20, &(LinkChange) { .up = true }), -ENODEV);
        assert_int_equal(link_remove(nl, 1 << 20), -ENODEV);
}

static void errors_are_the_kernels_very_own(void **state) {
        Address a;

        assert_int_equal(link_remove(nl, 1), -EOPNOTSUPP); /* lo stays */
        assert_int_equal(address_parse("fd00::1", &a), 0);
        assert_int_equal(link_add_address(nl, 1, &a, 129), -EINVAL);
        assert_int_equal(link_add_address(nl, 1, &a, 128), 0);
        assert_int_equal(link_add_address(nl, 1, &a, 128), -EEXIST);
        assert_int_equal(link_add_address(nl, 1 << 20, &a, 128), -ENODEV);
        assert_int_equal(system("ip addr del fd00::1/128 dev lo"), 0);
}

static void kernels_words_are_kept_for_one_request(void **state) {
        struct ifinfomsg i = { .ifi_index = 1 };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(RTM_NEWLINK, 0, &i, sizeof(i));
        Link link;

        assert_non_null(m);
        assert_int_equal(nla_put_u32(m, IFLA_MTU, 1), 0);
        assert_int_equal(nla_put_u8(m, IFLA_MASTER, 1), 0); /* too short */
        assert_true(netlink_run(nl, m) < 0);
        assert_true(strlen(netlink_error_text(nl)) > 0);
        assert_int_equal(link_find(nl, "lo", &link), 0);
        assert_string_equal(netlink_error_text(nl), "");
}

static void sysctl_is_written_only_when_it_differs(void **state) {
        assert_int_equal(link_set_sysctl("lo", "ipv6", "hop_limit", 63), 0);
        assert_int_equal(system("test $(cat /proc/sys/net/ipv6/conf/lo/hop_limit) = 63"), 0);
        assert_int_equal(link_set_sysctl("nobody", "ipv6", "hop_limit", 63), -ENOENT);
        assert_int_equal(link_set_sysctl("lo", "ipv6", "nothing", 63), -ENOENT);
        assert_int_equal(link_set_sysctl("lo", "ipv6", "hop_limit", 300), -EINVAL);

        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(system("mount --make-rprivate / && mount --bind /proc/sys /proc/sys && "
                                "mount -o remount,bind,ro /proc/sys"), 0);
        assert_int_equal(link_set_sysctl("lo", "ipv6", "hop_limit", 63), 0);
        assert_int_equal(link_set_sysctl("lo", "ipv6", "hop_limit", 64), -EROFS);
        assert_int_equal(system("umount /proc/sys"), 0);
}

static int stop_at_once(struct nlmsghdr *h, void *userdata) {
        ++*(unsigned *) userdata;
        return -ECANCELED;
}

/* Whoever looks at the answer has enough: the rest of it is not taken for an answer to the next request. */
static void given_up_dump_does_not_disturb_the_next(void **state) {
        const struct ifinfomsg i = {};
        unsigned calls = 0;
        Link link;

        assert_int_equal(system("for i in $(seq 100); do ip tuntap add dev many$i mode tap; done"), 0);
        for (unsigned k = 0; k < 3; k++) {
                _cleanup_netlink_message_ NetlinkMessage *m =
                        netlink_message_new(RTM_GETLINK, NLM_F_DUMP, &i, sizeof(i));

                assert_int_equal(netlink_query(nl, m, stop_at_once, &calls), -ECANCELED);
                assert_int_equal(calls, k + 1);
                assert_int_equal(link_find(nl, "many7", &link), 0);
                assert_string_equal(link.name, "many7");
                assert_string_equal(link.kind, "tun");
        }
        assert_int_equal(system("for i in $(seq 100); do ip link del many$i; done"), 0);
}

static void links_of_a_kind_are_listed(void **state) {
        _cleanup_free_ Link *links = NULL;
        size_t n = 7;

        assert_int_equal(link_list(nl, "tun", &links, &n), 0);
        assert_int_equal(n, 0);
        links = mfree(links);
        assert_int_equal(system("ip link add v0 type veth peer name v1 && ip tuntap add dev t0 mode tap"), 0);
        assert_int_equal(link_list(nl, "tun", &links, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(links[0].name, "t0");
        links = mfree(links);
        assert_int_equal(link_list(nl, "veth", &links, &n), 0);
        assert_int_equal(n, 2);
        links = mfree(links);
        assert_int_equal(link_list(nl, "no-such-kind", &links, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(system("ip link del v0 && ip link del t0"), 0);
}

static void counters_are_those_of_the_link(void **state) {
        _cleanup_free_ LinkCounters *before = NULL, *after = NULL;
        const LinkCounters *b, *a;
        size_t n;

        assert_int_equal(link_change(nl, 1, &(LinkChange) { .up = true }), 0);
        assert_int_equal(link_counters(nl, &before, &n), 0);
        b = link_counters_find(before, n, 1);
        assert_non_null(b);
        assert_int_equal(system("bash -c 'echo x >/dev/udp/127.0.0.1/9'"), 0);
        assert_int_equal(link_counters(nl, &after, &n), 0);
        a = link_counters_find(after, n, 1);
        assert_non_null(a);
        assert_true(a->sent_packets > b->sent_packets);
        assert_true(a->received_packets > b->received_packets);
        assert_true(a->sent_bytes > b->sent_bytes);
        assert_null(link_counters_find(after, n, 1 << 20));
        assert_null(link_counters_find(NULL, 0, 1));
}

static void socket_sees_the_namespace_it_was_opened_in(void **state) {
        _cleanup_(netlink_closep) Netlink *other = NULL;
        Link link;

        assert_int_equal(system("ip tuntap add dev here0 mode tap"), 0);
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(netlink_open(&other), 0);
        assert_int_equal(link_find(other, "here0", &link), -ENODEV);
        assert_int_equal(link_find(nl, "here0", &link), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(link_is_found_by_name),
                cmocka_unit_test(link_that_is_not_there_is_said_so),
                cmocka_unit_test(errors_are_the_kernels_very_own),
                cmocka_unit_test(kernels_words_are_kept_for_one_request),
                cmocka_unit_test(sysctl_is_written_only_when_it_differs),
                cmocka_unit_test(given_up_dump_does_not_disturb_the_next),
                cmocka_unit_test(links_of_a_kind_are_listed),
                cmocka_unit_test(counters_are_those_of_the_link),
                cmocka_unit_test(socket_sees_the_namespace_it_was_opened_in),
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
