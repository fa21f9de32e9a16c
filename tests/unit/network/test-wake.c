/* SPDX-License-Identifier: Apache-2.0 */

/* Waking by packets, in a network namespace of its own: a VM whose TAP is here, the outside, and the
 * kernel's routing between them. */

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "network/filter.h"
#include "network/nft-client.h"
#include "network/wake.h"
#include "playground.h"

#define VM6 "fd00:1::a"
#define VM4 "10.99.0.10"
#define OTHER6 "fd00:1::b"
#define OUTSIDE6 "fd00:2::1"
#define OUTSIDE4 "192.0.2.1"
#define HOST6 "fd00:1::ffff"
#define HOST4 "198.51.100.7"
#define GATEWAY4 "169.254.1.1"
#define TAP "tap-0000000a"

static int tap, uplink;
static Wake *wake;
static unsigned wakes;
static struct in6_addr woken;
static int vm; /* its address is the cookie */
static void (*during_wake)(void);

static struct in6_addr address(const char *s) {
        struct in6_addr a;
        struct in_addr a4;

        if (strchr(s, ':'))
                assert_int_equal(inet_pton(AF_INET6, s, &a), 1);
        else {
                assert_int_equal(inet_pton(AF_INET, s, &a4), 1);
                a = packet_map_address4(a4);
        }
        return a;
}

static void on_wake(const struct in6_addr *a, const PacketInfo *packet, void *cookie, void *userdata) {
        assert_ptr_equal(cookie, &vm);
        assert_ptr_equal(userdata, &wakes);
        assert_memory_equal(&packet->destination, a, sizeof(*a));
        woken = *a;
        wakes++;
        if (during_wake)
                during_wake();
}

static void arm(const char *a, const char *policy) {
        struct in6_addr in = address(a);
        WakePolicy p;

        assert_int_equal(wake_policy_parse(policy, &p), 0);
        assert_int_equal(wake_arm(wake, &in, &p, &vm), 0);
}

static int release(const char *a) {
        struct in6_addr in = address(a);

        return wake_release(wake, &in);
}

static void route_to(const char *to, const char *from, const char *a) {
        unsigned prefix = strchr(a, ':') ? 128 : 32;

        playground_route(to, a, prefix);
        if (from)
                playground_unroute(from, a, prefix);
}

static int setup(void **state) {
        int r;

        r = playground_enter();
        if (r < 0) {
                print_message("No network namespace: %s\n", strerror(-r));
                exit(77);
        }
        /* As strict as hosts get */
        assert_int_equal(playground_sysctl("ipv4/conf/all/rp_filter", "1"), 0);
        tap = playground_tun(TAP);
        uplink = playground_tun("uplink");
        playground_address(TAP, GATEWAY4, 32);
        playground_address("uplink", HOST4, 24);
        playground_address("uplink", HOST6, 128);
        playground_route("uplink", "::", 0);
        playground_route("uplink", "0.0.0.0", 0);
        return 0;
}

static int teardown(void **state) {
        safe_close(tap);
        safe_close(uplink);
        return 0;
}

static int start_with(WakeLimits limits) {
        WakeFds fds = WAKE_FDS_NONE;

        wakes = 0;
        during_wake = NULL;
        assert_int_equal(wake_open(WAKE_INTERFACE, 1400, &fds), 0);
        assert_int_equal(wake_new(&fds, &limits, on_wake, &wakes, &wake), 0);
        assert_true(fds.tun < 0 && fds.raw4 < 0 && fds.raw6 < 0);
        route_to(WAKE_INTERFACE, NULL, VM6);
        route_to(WAKE_INTERFACE, NULL, VM4);
        arm(VM6, "tcp udp");
        arm(VM4, "tcp udp");
        return 0;
}

static int start(void **state) {
        return start_with(WAKE_LIMITS_DEFAULT);
}

/* The routes to the device go with it. */
static int finish(void **state) {
        wake = wake_free(wake);
        assert_int_equal(if_nametoindex(WAKE_INTERFACE), 0);
        return 0;
}

static void udp_from_outside(const char *to, const char *payload) {
        Packet p = packet_udp(strchr(to, ':') ? OUTSIDE6 : OUTSIDE4, to, 1000, 2000, payload);

        packet_send(uplink, &p);
}

/* How many packets, without what the kernel says by itself. */
static int process(void) {
        uint64_t before = wake_statistics(wake)->multicast;
        int n, count = 0;

        while ((n = wake_dispatch(wake)) > 0)
                count += n;
        assert_int_equal(n, 0);
        return count - (int) (wake_statistics(wake)->multicast - before);
}

/* In the order they come out of the VM's TAP. */
static void expect(const char *to, unsigned first, unsigned last) {
        char number[16];
        Packet p;

        for (unsigned i = first; i <= last; i++) {
                (void) snprintf(number, sizeof(number), "%u", i);
                assert_true(packet_receive(tap, to, &p));
                assert_string_equal(packet_payload(&p), number);
        }
        assert_false(packet_receive(tap, to, &p));
}

static void send_numbers(const char *to, unsigned first, unsigned last) {
        char number[16];

        for (unsigned i = first; i <= last; i++) {
                (void) snprintf(number, sizeof(number), "%u", i);
                udp_from_outside(to, number);
        }
}

static void wake_by_packets(const char *a) {
        struct in6_addr in = address(a);
        struct pollfd pfd = { .fd = wake_fd(wake), .events = POLLIN };

        send_numbers(a, 1, 5);
        assert_int_equal(poll(&pfd, 1, 1000), 1);
        assert_int_equal(process(), 5);
        assert_int_equal(wakes, 1);
        assert_memory_equal(&woken, &in, sizeof(in));
        send_numbers(a, 6, 7);
        assert_int_equal(process(), 2);
        assert_int_equal(wakes, 1);

        route_to(TAP, WAKE_INTERFACE, a);
        assert_int_equal(release(a), 7);
        expect(a, 1, 7);
        send_numbers(a, 8, 8); /* on the short way now */
        expect(a, 8, 8);
        assert_int_equal(process(), 0);
        playground_unroute(TAP, a, strchr(a, ':') ? 128 : 32);
}

static void the_first_packet_wakes_and_all_arrive_in_order(void **state) {
        wake_by_packets(VM6);
}

static void ipv4_does_the_same(void **state) {
        wake_by_packets(VM4);
}

/* With connection tracking and masquerade in the way of what comes back. */
static void the_filter_lets_it_all_through(void **state) {
        FilterTap t = { .tap = TAP, .owner = "alice", .address6 = address(VM6) };
        _cleanup_(filter_freep) Filter *f = NULL;
        Packet p;

        assert_int_equal(inet_pton(AF_INET, VM4, &t.address4), 1);
        assert_int_equal(filter_new(&f), 0);
        assert_int_equal(filter_add(f, &t), 0);
        assert_int_equal(filter_install(f), 0);
        wake_by_packets(VM6);
        wakes = 0;
        wake_by_packets(VM4);

        /* The answer goes back to where the question came from. */
        playground_route(TAP, VM4, 32);
        p = packet_udp(VM4, OUTSIDE4, 2000, 1000, "answer");
        packet_send(tap, &p);
        assert_true(packet_receive(uplink, OUTSIDE4, &p));
        assert_string_equal(packet_source(&p), VM4);
        playground_unroute(TAP, VM4, 32);
        assert_int_equal(filter_uninstall(f), 0);
}

/* Firewalld takes nothing in by an interface that is not the way back (IPv6_rpfilter, on by default). */
static void a_firewall_that_checks_the_way_back_does_not_drop_them(void **state) {
        _cleanup_(nft_client_freep) NftClient *c = NULL;

        assert_int_equal(nft_client_new(&c), 0);
        assert_int_equal(nft_client_run(c, "table inet firewalld {\n"
                                           "  chain filter_PREROUTING {\n"
                                           "    type filter hook prerouting priority 10; policy accept;\n"
                                           "    fib saddr . mark . iif oif missing drop\n"
                                           "  }\n"
                                           "}\n"),
                        0);
        wake_by_packets(VM6);
        wakes = 0;
        wake_by_packets(VM4);
        assert_int_equal(nft_client_run(c, "flush ruleset"), 0);
}

static void what_is_in_the_device_still_goes_along_in_order(void **state) {
        send_numbers(VM6, 1, 3);
        assert_int_equal(process(), 3);
        send_numbers(VM6, 4, 9); /* not read yet when the route moves */
        route_to(TAP, WAKE_INTERFACE, VM6);
        assert_int_equal(release(VM6), 9);
        expect(VM6, 1, 9);
        assert_int_equal(wakes, 1);
        playground_unroute(TAP, VM6, 128);
}

static void a_vm_woken_by_something_else_gets_its_packets_without_a_wake(void **state) {
        send_numbers(VM6, 1, 4);
        route_to(TAP, WAKE_INTERFACE, VM6);
        assert_int_equal(release(VM6), 4);
        assert_int_equal(wakes, 0);
        expect(VM6, 1, 4);
        playground_unroute(TAP, VM6, 128);
}

/* A connect() of this very host: the packet comes back with one of its own addresses as the source. */
static void the_host_itself_wakes_it(void **state) {
        static const char *const addresses[] = { VM6, VM4 };

        for (size_t i = 0; i < ELEMENTSOF(addresses); i++) {
                bool six = strchr(addresses[i], ':');
                _cleanup_close_ int fd = socket(
                                six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(80) };
                struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(80) };
                PacketInfo info;
                Packet p;

                assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, addresses[i],
                                                 six ? (void *) &a6.sin6_addr : (void *) &a4.sin_addr),
                                1);
                assert_int_equal(connect(fd, six ? (void *) &a6 : (void *) &a4,
                                                 six ? sizeof(a6) : sizeof(a4)),
                                -1);
                assert_int_equal(errno, EINPROGRESS);
                assert_int_equal(process(), 1);
                assert_int_equal(wakes, i + 1);
                route_to(TAP, WAKE_INTERFACE, addresses[i]);
                assert_int_equal(release(addresses[i]), 1);
                assert_true(packet_receive(tap, addresses[i], &p));
                assert_int_equal(packet_parse(p.data, p.size, &info), 0);
                assert_int_equal(info.tcp_flags & PLAYGROUND_SYN, PLAYGROUND_SYN);
                assert_int_equal(info.destination_port, 80);
                assert_string_equal(packet_source(&p), six ? HOST6 : GATEWAY4);
                playground_unroute(TAP, addresses[i], six ? 128 : 32);
        }
}

static void what_the_policy_does_not_name_does_not_wake_but_follows(void **state) {
        Packet ping = packet_icmp6(OUTSIDE6, VM6, 128, "abcd", 4), seen;

        arm(VM6, "tcp:22");
        packet_send(uplink, &ping);
        send_numbers(VM6, 1, 3);
        assert_int_equal(process(), 4);
        assert_int_equal(wakes, 0);
        assert_int_equal(wake_statistics(wake)->refused, 4);
        assert_int_equal(wake_statistics(wake)->held, 0);

        packet_send(uplink, &(Packet[]){ packet_tcp(OUTSIDE6, VM6, 1, 22, PLAYGROUND_SYN) }[0]);
        packet_send(uplink, &ping);
        assert_int_equal(process(), 2);
        assert_int_equal(wakes, 1);
        route_to(TAP, WAKE_INTERFACE, VM6);
        assert_int_equal(release(VM6), 2);
        assert_true(packet_receive(tap, VM6, &seen));
        assert_int_equal(seen.data[6], IPPROTO_TCP);
        assert_true(packet_receive(tap, VM6, &seen));
        assert_int_equal(seen.data[6], IPPROTO_ICMPV6);
        playground_unroute(TAP, VM6, 128);
}

static void what_is_armed_for_nobody_is_dropped(void **state) {
        struct in6_addr a = address(VM6);

        route_to(WAKE_INTERFACE, NULL, OTHER6);
        send_numbers(OTHER6, 1, 3);
        assert_int_equal(process(), 3);
        wake_disarm(wake, &a);
        wake_disarm(wake, &a);
        send_numbers(VM6, 1, 2);
        assert_int_equal(process(), 2);
        assert_int_equal(wakes, 0);
        assert_int_equal(wake_statistics(wake)->unknown, 5);
        assert_int_equal(release(VM6), -ENOENT);
}

static void a_failed_wake_drops_what_was_held_and_can_be_tried_again(void **state) {
        struct in6_addr a = address(VM6);

        send_numbers(VM6, 1, 3);
        assert_int_equal(process(), 3);
        assert_int_equal(wake_rest(wake, &a), 0);
        assert_int_equal(wake_statistics(wake)->discarded, 3);
        send_numbers(VM6, 4, 5);
        assert_int_equal(process(), 2);
        assert_int_equal(wakes, 2);
        route_to(TAP, WAKE_INTERFACE, VM6);
        assert_int_equal(release(VM6), 2);
        expect(VM6, 4, 5);
        playground_unroute(TAP, VM6, 128);
}

static void it_falls_asleep_again_and_wakes_again(void **state) {
        for (unsigned i = 0; i < 3; i++) {
                send_numbers(VM6, 1, 2);
                assert_int_equal(process(), 2);
                assert_int_equal(wakes, i + 1);
                route_to(TAP, WAKE_INTERFACE, VM6);
                assert_int_equal(release(VM6), 2);
                expect(VM6, 1, 2);
                arm(VM6, "tcp udp");
                route_to(WAKE_INTERFACE, TAP, VM6);
        }
}

static void a_stray_that_comes_late_is_passed_on_and_a_loop_ends(void **state) {
        send_numbers(VM6, 1, 1);
        assert_int_equal(process(), 1);
        /* The route does not move: everything comes back until it is known as a loop. */
        assert_int_equal(release(VM6), 1);
        assert_true(process() > 0);
        assert_in_range(wake_statistics(wake)->injected, 2, 65);
        assert_int_equal(process(), 0);
        assert_int_equal(wakes, 1);
}

static void queues_have_bounds_and_keep_the_oldest(void **state) {
        WakeLimits limits = WAKE_LIMITS_DEFAULT;

        limits.packets = 4;
        limits.bytes = 1 << 20;
        start_with(limits);
        send_numbers(VM6, 1, 50);
        assert_int_equal(process(), 50);
        assert_int_equal(wake_statistics(wake)->held, 4);
        assert_int_equal(wake_statistics(wake)->overflowed, 46);
        route_to(TAP, WAKE_INTERFACE, VM6);
        assert_int_equal(release(VM6), 4);
        expect(VM6, 1, 4);
        playground_unroute(TAP, VM6, 128);
        finish(NULL);

        limits.packets = 100;
        limits.bytes = 120; /* two of 40 + 8 + 2 */
        start_with(limits);
        send_numbers(VM6, 1, 9);
        assert_int_equal(process(), 9);
        assert_int_equal(wake_statistics(wake)->held, 2);
        finish(NULL);

        limits.bytes = 1 << 20;
        limits.bytes_total = 120;
        start_with(limits);
        send_numbers(VM6, 1, 1);
        send_numbers(VM4, 1, 9);
        assert_int_equal(process(), 10);
        assert_int_equal(wake_statistics(wake)->held, 3); /* 50 + 2 × 30 */
        assert_int_equal(wakes, 2);
}

static void a_scanner_wakes_few_and_the_others_still_sleep(void **state) {
        WakeLimits limits = WAKE_LIMITS_DEFAULT;
        char name[32];

        limits.per_source = (WakeRate){ .burst = 3, .interval = UINT64_C(3600000000) };
        start_with(limits);
        playground_route(WAKE_INTERFACE, "fd00:7::", 64);
        for (unsigned i = 1; i <= 20; i++) {
                (void) snprintf(name, sizeof(name), "fd00:7::%x", i);
                arm(name, "tcp");
                packet_send(uplink, &(Packet[]){ packet_tcp(OUTSIDE6, name, 1, 22, PLAYGROUND_SYN) }[0]);
        }
        assert_int_equal(process(), 20);
        assert_int_equal(wakes, 3);
        assert_int_equal(wake_statistics(wake)->limited, 17);
        packet_send(uplink, &(Packet[]){ packet_tcp("fd00:3::1", "fd00:7::14", 1, 22, PLAYGROUND_SYN) }[0]);
        assert_int_equal(process(), 1);
        assert_int_equal(wakes, 4);
}

static void disarm_it(void) {
        struct in6_addr a = address(VM6);

        wake_disarm(wake, &a);
}

static void release_it(void) {
        (void) release(VM6);
}

static void the_handler_may_disarm_or_release_what_it_is_told_of(void **state) {
        during_wake = disarm_it;
        send_numbers(VM6, 1, 5);
        assert_int_equal(process(), 5);
        assert_int_equal(wakes, 1);
        assert_int_equal(wake_statistics(wake)->unknown, 4);

        arm(VM6, "udp");
        during_wake = release_it;
        route_to(TAP, WAKE_INTERFACE, VM6);
        playground_unroute(TAP, VM6, 128);
        playground_route(WAKE_INTERFACE, VM6, 128);
        send_numbers(VM6, 1, 5);
        playground_route(TAP, VM6, 128);
        playground_unroute(WAKE_INTERFACE, VM6, 128);
        (void) process();
        assert_int_equal(wakes, 2);
        expect(VM6, 1, 5);
        playground_unroute(TAP, VM6, 128);
}

static void an_address_of_no_vm_is_refused(void **state) {
        static const char *const bad[] = { "::", "::1", "ff02::1", "fe80::1" };
        WakePolicy p;

        assert_int_equal(wake_policy_parse("tcp", &p), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct in6_addr a = address(bad[i]);

                assert_int_equal(wake_arm(wake, &a, &p, &vm), -EINVAL);
        }
}

static void the_device_is_one_and_looks_like_a_tap(void **state) {
        struct ifreq request = { .ifr_name = WAKE_INTERFACE };
        WakeFds fds = WAKE_FDS_NONE;
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        assert_int_equal(wake_open(WAKE_INTERFACE, 1400, &fds), -EBUSY);
        assert_int_equal(wake_open("../../x", 1400, &fds), -EINVAL);
        assert_true(fds.tun < 0 && fds.raw4 < 0 && fds.raw6 < 0);
        assert_return_code(ioctl(fd, SIOCGIFMTU, &request), errno);
        assert_int_equal(request.ifr_mtu, 1400);
        assert_return_code(ioctl(fd, SIOCGIFADDR, &request), errno);
        assert_int_equal(ntohl(((struct sockaddr_in *) &request.ifr_addr)->sin_addr.s_addr), 0xa9fe0101);
        assert_return_code(ioctl(fd, SIOCGIFNETMASK, &request), errno);
        assert_int_equal(((struct sockaddr_in *) &request.ifr_netmask)->sin_addr.s_addr, UINT32_MAX);
        assert_int_equal(process(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)
#define TEST_LIMITS(f) cmocka_unit_test_setup_teardown(f, NULL, finish)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(the_first_packet_wakes_and_all_arrive_in_order),
                TEST(ipv4_does_the_same),
                TEST(the_filter_lets_it_all_through),
                TEST(a_firewall_that_checks_the_way_back_does_not_drop_them),
                TEST(what_is_in_the_device_still_goes_along_in_order),
                TEST(a_vm_woken_by_something_else_gets_its_packets_without_a_wake),
                TEST(the_host_itself_wakes_it),
                TEST(what_the_policy_does_not_name_does_not_wake_but_follows),
                TEST(what_is_armed_for_nobody_is_dropped),
                TEST(a_failed_wake_drops_what_was_held_and_can_be_tried_again),
                TEST(it_falls_asleep_again_and_wakes_again),
                TEST(a_stray_that_comes_late_is_passed_on_and_a_loop_ends),
                TEST_LIMITS(queues_have_bounds_and_keep_the_oldest),
                TEST_LIMITS(a_scanner_wakes_few_and_the_others_still_sleep),
                TEST(the_handler_may_disarm_or_release_what_it_is_told_of),
                TEST(an_address_of_no_vm_is_refused),
                TEST(the_device_is_one_and_looks_like_a_tap),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
