/* SPDX-License-Identifier: Apache-2.0 */

/* Packet headers, and what of them wakes a VM. Pure: no namespace, no device. */

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "network/wake-limiter.h"
#include "network/wake-policy.h"
#include "playground.h"

static const char *text(const struct in6_addr *a) {
        static char buf[INET6_ADDRSTRLEN];

        return inet_ntop(AF_INET6, a, buf, sizeof(buf));
}

static void headers_of_all_kinds_are_read(void **state) {
        Packet p = packet_tcp("fd00::1", "fd00::2", 1234, 22, PLAYGROUND_SYN);
        PacketInfo i;

        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_int_equal(i.family, AF_INET6);
        assert_string_equal(text(&i.source), "fd00::1");
        assert_string_equal(text(&i.destination), "fd00::2");
        assert_int_equal(i.protocol, IPPROTO_TCP);
        assert_int_equal(i.source_port, 1234);
        assert_int_equal(i.destination_port, 22);
        assert_int_equal(i.tcp_flags, PACKET_TCP_SYN);
        assert_true(i.has_header);
        assert_false(i.fragment);

        p = packet_udp("10.0.0.1", "10.0.0.2", 53, 5353, "x");
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_int_equal(i.family, AF_INET);
        assert_string_equal(text(&i.source), "::ffff:10.0.0.1");
        assert_string_equal(text(&i.destination), "::ffff:10.0.0.2");
        assert_int_equal(i.protocol, IPPROTO_UDP);
        assert_int_equal(i.destination_port, 5353);

        p = packet_icmp6("fd00::1", "fd00::2", ICMP6_ECHO_REQUEST, "", 0);
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_int_equal(i.protocol, IPPROTO_ICMPV6);
        assert_int_equal(i.icmp_type, ICMP6_ECHO_REQUEST);
}

static void a_packet_cut_off_anywhere_is_refused(void **state) {
        Packet packets[] = {
                packet_tcp("fd00::1", "fd00::2", 1, 2, PLAYGROUND_SYN),
                packet_tcp("10.0.0.1", "10.0.0.2", 1, 2, PLAYGROUND_SYN),
                packet_udp("10.0.0.1", "10.0.0.2", 1, 2, "payload"),
                packet_udp("fd00::1", "fd00::2", 1, 2, "payload"),
        };
        PacketInfo i;

        for (size_t k = 0; k < ELEMENTSOF(packets); k++)
                for (size_t n = 0; n < packets[k].size; n++) {
                        _cleanup_free_ void *exact =
                                        memdup(packets[k].data, n); /* for the sanitizer's sake */

                        assert_non_null(exact);
                        assert_int_equal(packet_parse(exact, n, &i), -EBADMSG);
                }
}

static void lengths_that_lie_are_refused(void **state) {
        Packet p = packet_tcp("10.0.0.1", "10.0.0.2", 1, 2, PLAYGROUND_SYN), q;
        PacketInfo i;

        q = p;
        q.data[0] = 0x44; /* a header of 16 bytes */
        assert_int_equal(packet_parse(q.data, q.size, &i), -EBADMSG);
        q = p;
        q.data[3] = 19; /* in all less than the header */
        assert_int_equal(packet_parse(q.data, q.size, &i), -EBADMSG);
        q = p;
        q.data[3] = 30; /* half a TCP header, however much follows */
        assert_int_equal(packet_parse(q.data, q.size, &i), -EBADMSG);
        q = p;
        q.data[20 + 12] = 0x40; /* a TCP header of 16 bytes */
        assert_int_equal(packet_parse(q.data, q.size, &i), -EBADMSG);
        q = p;
        q.data[0] = 0x55;
        assert_int_equal(packet_parse(q.data, q.size, &i), -EBADMSG);
        assert_int_equal(packet_parse(p.data, p.size + 30, &i), 0); /* padding */
}

/* Puts bytes between the IPv6 header and what follows. */
static Packet with_extension(Packet p, uint8_t type, const void *header, size_t n) {
        Packet q = p;

        memcpy(q.data + 40, header, n);
        q.data[40] = p.data[6];
        q.data[6] = type;
        memcpy(q.data + 40 + n, p.data + 40, p.size - 40);
        q.size = p.size + n;
        q.data[4] = (uint8_t) ((q.size - 40) >> 8);
        q.data[5] = (uint8_t) (q.size - 40);
        return q;
}

static void extension_headers_are_walked_and_bounded(void **state) {
        Packet p = packet_tcp("fd00::1", "fd00::2", 1, 443, PLAYGROUND_SYN);
        static const uint8_t types[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS };
        static const uint8_t eight[8] = {}, twelve[12] = { 0, 1 };
        PacketInfo i;

        for (unsigned n = 0; n < PACKET_EXTENSIONS_MAX; n++) {
                p = with_extension(p, types[n % 3], eight, sizeof(eight));
                assert_int_equal(packet_parse(p.data, p.size, &i), 0);
                assert_int_equal(i.protocol, IPPROTO_TCP);
                assert_int_equal(i.destination_port, 443);
        }
        p = with_extension(p, IPPROTO_DSTOPTS, eight, sizeof(eight));
        assert_int_equal(packet_parse(p.data, p.size, &i), -EBADMSG);

        p = with_extension(packet_tcp("fd00::1", "fd00::2", 1, 443, 0), IPPROTO_AH, twelve, sizeof(twelve));
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_int_equal(i.destination_port, 443);
        p.data[41] = 200; /* longer than the packet */
        assert_int_equal(packet_parse(p.data, p.size, &i), -EBADMSG);
}

static void of_fragments_only_the_first_has_a_port(void **state) {
        Packet six = packet_tcp("fd00::1", "fd00::2", 1, 443, PLAYGROUND_SYN), p;
        static const uint8_t first[8] = { 0, 0, 0, 1 }, middle[8] = { 0, 0, 0, 9 }, atomic[8] = {};
        PacketInfo i;

        p = with_extension(six, IPPROTO_FRAGMENT, first, 8);
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_true(i.fragment && i.has_header);
        p = with_extension(six, IPPROTO_FRAGMENT, middle, 8);
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_true(i.fragment);
        assert_false(i.has_header);
        p = with_extension(six, IPPROTO_FRAGMENT, atomic, 8);
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_true(i.has_header);
        assert_false(i.fragment);

        p = packet_udp("10.0.0.1", "10.0.0.2", 1, 2, "x");
        p.data[7] = 1;
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        assert_true(i.fragment);
        assert_false(i.has_header);
}

static void mapped_addresses_on_the_wire_are_refused(void **state) {
        Packet p = packet_udp("fd00::1", "::ffff:10.0.0.2", 1, 2, "x");
        PacketInfo i;

        assert_int_equal(packet_parse(p.data, p.size, &i), -EBADMSG);
        p = packet_udp("::ffff:10.0.0.2", "fd00::1", 1, 2, "x");
        assert_int_equal(packet_parse(p.data, p.size, &i), -EBADMSG);
}

/* Policies */

static bool allows(const char *policy, Packet p) {
        WakePolicy w;
        PacketInfo i;

        assert_int_equal(wake_policy_parse(policy, &w), 0);
        assert_int_equal(packet_parse(p.data, p.size, &i), 0);
        return wake_policy_allows(&w, &i);
}

#define TCP(port, flags) packet_tcp("fd00::1", "fd00::2", 40000, (port), (flags))
#define UDP(port) packet_udp("10.0.0.1", "10.0.0.2", 40000, (port), "x")
#define PING packet_icmp6("fd00::1", "fd00::2", ICMP6_ECHO_REQUEST, "1234", 4)

static void a_policy_names_protocols_and_ports(void **state) {
        assert_true(allows("tcp udp", TCP(1, PLAYGROUND_SYN)));
        assert_true(allows("tcp udp", UDP(65535)));
        assert_false(allows("tcp udp", PING));
        assert_true(allows("ping", PING));
        assert_false(allows("ping", packet_icmp6("fd00::1", "fd00::2", ICMP6_ECHO_REPLY, "1234", 4)));
        assert_false(allows("ping", packet_icmp6("fd00::1", "fd00::2", ICMP6_DST_UNREACH, "1234", 4)));
        assert_false(allows("tcp", UDP(53)));
        assert_true(allows("tcp:22, udp:53", UDP(53)));
        assert_false(allows("tcp:22, udp:53", UDP(22)));
        assert_false(allows("tcp:22 tcp:8000-8999", TCP(7999, PLAYGROUND_SYN)));
        assert_true(allows("tcp:22 tcp:8000-8999", TCP(8000, PLAYGROUND_SYN)));
        assert_true(allows("tcp:22 tcp:8000-8999", TCP(8999, PLAYGROUND_SYN)));
        assert_false(allows("tcp:22 tcp:8000-8999", TCP(9000, PLAYGROUND_SYN)));
        assert_false(allows("none", TCP(22, PLAYGROUND_SYN)));
}

static void what_only_scanners_send_does_not_wake(void **state) {
        assert_true(allows("tcp", TCP(22, PLAYGROUND_SYN)));
        assert_true(allows("tcp", TCP(22, PLAYGROUND_ACK))); /* data of a connection that was open before */
        assert_true(allows("tcp", TCP(22, PLAYGROUND_SYN | PLAYGROUND_ACK)));
        assert_true(allows("tcp", TCP(22, PACKET_TCP_FIN | PLAYGROUND_ACK)));
        assert_false(allows("tcp", TCP(22, 0)));
        assert_false(allows("tcp", TCP(22, PACKET_TCP_FIN)));
        assert_false(allows("tcp", TCP(22, PLAYGROUND_RST)));
        assert_false(allows("tcp", TCP(22, PLAYGROUND_RST | PLAYGROUND_ACK)));
        assert_false(allows("tcp", TCP(22, PLAYGROUND_SYN | PACKET_TCP_FIN)));
        assert_false(allows("tcp", TCP(22, 0x29))); /* a christmas tree */
}

static void the_words_of_a_policy_come_back(void **state) {
        static const char *const good[] = { "tcp udp", "tcp:22 tcp:8000-8999 udp:53 ping", "none", "ping" };
        static const char *const bad[] = { "", " ", "icmp", "tcp:", "tcp:0", "tcp:65536", "tcp:9-8", "tcp22",
                "tcp:1-", "tcp:-1", "none tcp", "tcp:1-2-3", "TCP" };
        WakePolicy p;

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_free_ char *s = NULL;

                assert_int_equal(wake_policy_parse(good[i], &p), 0);
                s = wake_policy_to_string(&p);
                assert_non_null(s);
                assert_string_equal(s, good[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(wake_policy_parse(bad[i], &p), -EINVAL);
}

static void a_policy_has_so_many_ranges_at_most(void **state) {
        char words[WAKE_RANGES_MAX * 4 + 8] = "";
        WakePolicy p;

        for (unsigned i = 0; i < WAKE_RANGES_MAX; i++)
                strcat(words, "tcp ");
        assert_int_equal(wake_policy_parse(words, &p), 0);
        strcat(words, "tcp");
        assert_int_equal(wake_policy_parse(words, &p), -E2BIG);
}

/* Rates */

static struct in6_addr address(const char *s) {
        struct in6_addr a;

        assert_int_equal(inet_pton(AF_INET6, s, &a), 1);
        return a;
}

static unsigned takes(WakeLimiter *l, const char *source, unsigned count, uint64_t now) {
        struct in6_addr a = address(source);
        unsigned n = 0;

        for (unsigned i = 0; i < count; i++)
                n += wake_limiter_take(l, &a, false, now);
        return n;
}

static void a_source_has_a_burst_and_then_its_rate(void **state) {
        _cleanup_(wake_limiter_freep) WakeLimiter *l = NULL;
        const WakeRate own = { 4, USEC_PER_SEC }, all = { 1000, 1 };
        uint64_t now = 100 * USEC_PER_SEC;

        assert_int_equal(wake_limiter_new(own, all, 8, &l), 0);
        assert_int_equal(takes(l, "fd00:1::1", 10, now), 4);
        assert_int_equal(takes(l, "fd00:1::2", 10, now), 0); /* the same /64 */
        assert_int_equal(takes(l, "fd00:1:0:1::1", 10, now), 4);
        assert_int_equal(takes(l, "::ffff:10.0.0.1", 10, now), 4);
        assert_int_equal(takes(l, "::ffff:10.0.0.2", 10, now), 4);
        assert_int_equal(takes(l, "fd00:1::1", 10, now + USEC_PER_SEC - 1), 0);
        assert_int_equal(takes(l, "fd00:1::1", 10, now + USEC_PER_SEC), 1);
        assert_int_equal(takes(l, "fd00:1::1", 10, now + 3 * USEC_PER_SEC), 2);
        assert_int_equal(takes(l, "fd00:1::1", 10, now + 3600 * USEC_PER_SEC), 4);
}

static void neighbours_are_counted_one_by_one(void **state) {
        _cleanup_(wake_limiter_freep) WakeLimiter *l = NULL;
        const WakeRate own = { 1, USEC_PER_SEC }, all = { 1000, 1 };
        struct in6_addr a = address("fd00:1::1"), b = address("fd00:1::2");

        assert_int_equal(wake_limiter_new(own, all, 8, &l), 0);
        assert_true(wake_limiter_take(l, &a, true, 1));
        assert_false(wake_limiter_take(l, &a, true, 1));
        assert_true(wake_limiter_take(l, &b, true, 1));
}

static void all_sources_together_have_one_too(void **state) {
        _cleanup_(wake_limiter_freep) WakeLimiter *l = NULL;
        const WakeRate own = { 2, USEC_PER_SEC }, all = { 5, USEC_PER_SEC };
        unsigned n = 0;
        char name[32];

        assert_int_equal(wake_limiter_new(own, all, 3, &l), 0);
        for (unsigned i = 0; i < 200; i++) {
                (void) snprintf(name, sizeof(name), "fd00:%x::1", i + 1);
                n += takes(l, name, 2, 1);
        }
        assert_int_equal(n, 5);
        assert_int_equal(takes(l, "fd00:999::1", 2, 1 + 2 * USEC_PER_SEC), 2);
}

static void a_refused_source_costs_the_others_nothing(void **state) {
        _cleanup_(wake_limiter_freep) WakeLimiter *l = NULL;
        const WakeRate own = { 2, USEC_PER_SEC }, all = { 5, USEC_PER_SEC };

        assert_int_equal(wake_limiter_new(own, all, 8, &l), 0);
        assert_int_equal(takes(l, "fd00:1::1", 100, 1), 2);
        assert_int_equal(takes(l, "fd00:2::1", 100, 1), 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(headers_of_all_kinds_are_read),
                cmocka_unit_test(a_packet_cut_off_anywhere_is_refused),
                cmocka_unit_test(lengths_that_lie_are_refused),
                cmocka_unit_test(extension_headers_are_walked_and_bounded),
                cmocka_unit_test(of_fragments_only_the_first_has_a_port),
                cmocka_unit_test(mapped_addresses_on_the_wire_are_refused),
                cmocka_unit_test(a_policy_names_protocols_and_ports),
                cmocka_unit_test(what_only_scanners_send_does_not_wake),
                cmocka_unit_test(the_words_of_a_policy_come_back),
                cmocka_unit_test(a_policy_has_so_many_ranges_at_most),
                cmocka_unit_test(a_source_has_a_burst_and_then_its_rate),
                cmocka_unit_test(neighbours_are_counted_one_by_one),
                cmocka_unit_test(all_sources_together_have_one_too),
                cmocka_unit_test(a_refused_source_costs_the_others_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
