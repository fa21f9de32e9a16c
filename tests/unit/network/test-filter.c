/* SPDX-License-Identifier: Apache-2.0 */

/* The packet filter with the kernel's nftables, in a network namespace of its own: two VMs of alice, one of
 * bob, one of nobody, and the outside. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/low-fd.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "network/filter.h"
#include "network/nft-client.h"
#include "network/wake.h"
#include "playground.h"

enum { ALICE, ALICE2, BOB, NOBODY, _VM_MAX };

static const struct {
        const char *tap, *owner, *address6, *address4;
} vms[_VM_MAX] = {
        [ALICE] = { "tap-0000000a", "alice", "fd00:1::a", "10.99.0.10" },
        [ALICE2] = { "tap-000000a2", "alice", "fd00:1::a2", "10.99.0.11" },
        [BOB] = { "tap-0000000b", "bob", "fd00:1::b", "10.99.0.12" },
        [NOBODY] = { "tap-0000000c", NULL, "fd00:1::c", "10.99.0.13" },
};

#define OUTSIDE6 "fd00:2::1"
#define OUTSIDE4 "192.0.2.1"
#define HOST4 "198.51.100.7"

static int taps[_VM_MAX], uplink, wake;
static Filter *filter;

static FilterTap filter_tap(int i) {
        FilterTap t = { .tap = vms[i].tap, .owner = vms[i].owner };

        assert_int_equal(inet_pton(AF_INET6, vms[i].address6, &t.address6), 1);
        assert_int_equal(inet_pton(AF_INET, vms[i].address4, &t.address4), 1);
        return t;
}

static void add_all(Filter *f) {
        for (int i = 0; i < _VM_MAX; i++) {
                FilterTap t = filter_tap(i);

                assert_int_equal(filter_add(f, &t), 0);
        }
}

static int setup(void **state) {
        int r;

        r = playground_enter();
        if (r < 0) {
                print_message("No network namespace: %s\n", strerror(-r));
                exit(77);
        }
        for (int i = 0; i < _VM_MAX; i++) {
                taps[i] = playground_tun(vms[i].tap);
                playground_route(vms[i].tap, vms[i].address6, 128);
                playground_route(vms[i].tap, vms[i].address4, 32);
        }
        uplink = playground_tun("uplink");
        playground_address("uplink", HOST4, 24);
        playground_route("uplink", "::", 0);
        playground_route("uplink", "0.0.0.0", 0);
        wake = playground_tun(WAKE_INTERFACE);
        return 0;
}

static int teardown(void **state) {
        for (int i = 0; i < _VM_MAX; i++)
                safe_close(taps[i]);
        safe_close(uplink);
        safe_close(wake);
        return 0;
}

static int install(void **state) {
        assert_int_equal(filter_new(&filter), 0);
        add_all(filter);
        assert_int_equal(filter_install(filter), 0);
        return 0;
}

static int uninstall(void **state) {
        assert_int_equal(filter_uninstall(filter), 0);
        filter = filter_free(filter);
        return 0;
}

/* What `nft` in another process would do. */
static void somebody_else(const char *commands) {
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                NftClient *c;
                int r;

                r = nft_client_new(&c);
                if (r >= 0)
                        r = nft_client_run(c, commands);
                if (r < 0)
                        fprintf(stderr, "%s\n", nft_client_error(c));
                nft_client_free(c);
                _exit(r < 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static char *show(const char *what) {
        _cleanup_(nft_client_freep) NftClient *c = NULL;
        json_t *objects;
        char *text;

        assert_int_equal(nft_client_new(&c), 0);
        assert_int_equal(nft_client_list(c, what, false, &objects), 0);
        text = json_dumps(objects, JSON_INDENT(1));
        json_decref(objects);
        assert_non_null(text);
        return text;
}

/* From the VM's TAP with that source to the outside. */
static bool goes_out(int vm, const char *source) {
        Packet p = packet_udp(source, strchr(source, ':') ? OUTSIDE6 : OUTSIDE4, 1000, 2000, "out");

        return packet_passes(taps[vm], &p, uplink, strchr(source, ':') ? OUTSIDE6 : OUTSIDE4);
}

static bool reaches(int from, int to, int device) {
        Packet six = packet_udp(vms[from].address6, vms[to].address6, 1000, 2000, "between");
        Packet four = packet_udp(vms[from].address4, vms[to].address4, 1000, 2000, "between");
        bool r6, r4;

        r6 = packet_passes(taps[from], &six, device, vms[to].address6);
        r4 = packet_passes(taps[from], &four, device, vms[to].address4);
        assert_int_equal(r6, r4);
        return r6;
}

static void a_vm_speaks_with_its_own_addresses_only(void **state) {
        assert_true(goes_out(ALICE, vms[ALICE].address6));
        assert_true(goes_out(ALICE, vms[ALICE].address4));
        assert_false(goes_out(ALICE, vms[BOB].address6));
        assert_false(goes_out(ALICE, vms[ALICE2].address6));
        assert_false(goes_out(ALICE, vms[BOB].address4));
        assert_false(goes_out(ALICE, "fd00:9::1"));
        assert_false(goes_out(ALICE, OUTSIDE6));
        assert_false(goes_out(ALICE, HOST4));
        assert_true(goes_out(BOB, vms[BOB].address6));
        assert_int_equal(filter_check(filter), 1); /* counted, but the same */
}

static void without_the_filter_all_of_it_would_pass(void **state) {
        assert_int_equal(filter_uninstall(filter), 0);
        assert_true(goes_out(ALICE, vms[BOB].address6));
        assert_true(reaches(ALICE, BOB, taps[BOB]));
        assert_int_equal(filter_install(filter), 0);
        assert_false(goes_out(ALICE, vms[BOB].address6));
}

static void vms_of_one_owner_reach_each_other_and_no_others(void **state) {
        assert_true(reaches(ALICE, ALICE2, taps[ALICE2]));
        assert_true(reaches(ALICE2, ALICE, taps[ALICE]));
        assert_false(reaches(ALICE, BOB, taps[BOB]));
        assert_false(reaches(BOB, ALICE, taps[ALICE]));
        assert_false(reaches(NOBODY, ALICE, taps[ALICE]));
        assert_false(reaches(ALICE, NOBODY, taps[NOBODY]));
}

static void two_vms_of_nobody_do_not_reach_each_other(void **state) {
        FilterTap t = filter_tap(BOB);

        t.owner = NULL;
        assert_int_equal(filter_remove(filter, vms[BOB].tap), 0);
        assert_int_equal(filter_add(filter, &t), 0);
        assert_false(reaches(NOBODY, BOB, taps[BOB]));
}

static void a_sleeping_vm_is_woken_by_its_owners_vms_and_the_outside_only(void **state) {
        Packet p = packet_udp(OUTSIDE6, vms[ALICE2].address6, 1000, 2000, "hello");

        playground_unroute(vms[ALICE2].tap, vms[ALICE2].address6, 128);
        playground_unroute(vms[ALICE2].tap, vms[ALICE2].address4, 32);
        playground_route(WAKE_INTERFACE, vms[ALICE2].address6, 128);
        playground_route(WAKE_INTERFACE, vms[ALICE2].address4, 32);

        assert_true(reaches(ALICE, ALICE2, wake));
        assert_false(reaches(BOB, ALICE2, wake));
        assert_false(reaches(NOBODY, ALICE2, wake));
        assert_true(packet_passes(uplink, &p, wake, vms[ALICE2].address6));

        playground_unroute(WAKE_INTERFACE, vms[ALICE2].address6, 128);
        playground_unroute(WAKE_INTERFACE, vms[ALICE2].address4, 32);
        playground_route(vms[ALICE2].tap, vms[ALICE2].address6, 128);
        playground_route(vms[ALICE2].tap, vms[ALICE2].address4, 32);
}

static void the_outside_reaches_every_vm(void **state) {
        for (int i = 0; i < _VM_MAX; i++) {
                Packet p = packet_udp(OUTSIDE6, vms[i].address6, 1000, 2000, "in");

                assert_true(packet_passes(uplink, &p, taps[i], vms[i].address6));
        }
}

static void metadata_addresses_are_out_of_reach(void **state) {
        static const char *const addresses[] = { "169.254.169.254", "169.254.170.2", "168.63.129.16",
                "100.100.100.200", "fd00:ec2::254", "fd20:ce::254" };

        for (size_t i = 0; i < ELEMENTSOF(addresses); i++) {
                bool six = strchr(addresses[i], ':');
                Packet p = packet_udp(six ? vms[ALICE].address6 : vms[ALICE].address4, addresses[i], 1000,
                                80, "x");

                assert_false(packet_passes(taps[ALICE], &p, uplink, addresses[i]));
        }
}

static void ipv4_leaves_under_the_hosts_address_and_comes_back(void **state) {
        Packet out = packet_udp(vms[ALICE].address4, OUTSIDE4, 4321, 53, "question"), seen, answer;
        uint16_t port;

        packet_send(taps[ALICE], &out);
        assert_true(packet_receive(uplink, OUTSIDE4, &seen));
        assert_string_equal(packet_source(&seen), HOST4);
        assert_string_equal(packet_payload(&seen), "question");
        memcpy(&port, seen.data + 20, sizeof(port));
        answer = packet_udp(OUTSIDE4, HOST4, 53, ntohs(port), "answer");
        packet_send(uplink, &answer);
        assert_true(packet_receive(taps[ALICE], vms[ALICE].address4, &seen));
        assert_string_equal(packet_source(&seen), OUTSIDE4);
        assert_string_equal(packet_payload(&seen), "answer");
}

static void between_vms_nothing_is_masqueraded(void **state) {
        Packet p = packet_udp(vms[ALICE].address4, vms[ALICE2].address4, 1, 2, "x"), seen;

        packet_send(taps[ALICE], &p);
        assert_true(packet_receive(taps[ALICE2], vms[ALICE2].address4, &seen));
        assert_string_equal(packet_source(&seen), vms[ALICE].address4);
}

/* Counts the packets that went through the neighbour rule into the stack, by the answers. */
static unsigned answers_to_solicitations(const char *source, unsigned count) {
        struct in6_addr target;
        unsigned n = 0;
        Packet p;

        assert_int_equal(inet_pton(AF_INET6, "fe80::1", &target), 1);
        p = packet_icmp6(source, "fe80::1", ND_NEIGHBOR_SOLICIT, &target, sizeof(target));
        for (unsigned i = 0; i < count; i++)
                packet_send(taps[ALICE], &p);
        while (packet_receive(taps[ALICE], source, &p))
                n++;
        return n;
}

static void neighbour_discovery_passes_within_its_limit(void **state) {
        Packet p = packet_udp("fe80::2", OUTSIDE6, 1, 2, "x");

        playground_address(vms[ALICE].tap, "fe80::1", 64);
        assert_int_equal(answers_to_solicitations("fe80::2", 1), 1);
        assert_in_range(answers_to_solicitations("fe80::3", 200), 20, 80);
        assert_false(packet_passes(taps[ALICE], &p, uplink, OUTSIDE6));
}

/* Limits: the packets that pass at once are those of a full bucket, however busy the machine is. */

#define LARGE 1400u         /* bytes of an IPv6 packet; of IPv4 20 less */
#define SLOW UINT64_C(1024) /* bytes a second: less than one packet in each */
#define BURST_PACKETS ((unsigned) ((SLOW + FILTER_TRANSMIT_BURST) / LARGE))
#define SLOW_PACKETS 8u /* what may pass in the meantime */
#define SENT_PACKETS (3 * BURST_PACKETS)

static Packet large_packet(const char *from, const char *to) {
        char payload[LARGE - 40 - 8] = "";

        memset(payload, 'x', sizeof(payload) - 1);
        return packet_udp(from, to, 1000, 2000, payload);
}

static unsigned count_large(int fd) {
        uint8_t buffer[PACKET_MAX];
        unsigned n = 0;
        ssize_t k;

        while ((k = read(fd, buffer, sizeof(buffer))) > 0)
                n += k >= (ssize_t) LARGE - 100;
        return n;
}

/* Of SENT_PACKETS: those that come out of fd. */
static unsigned passed(int vm, const Packet *p, int fd) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        unsigned n = 0;

        for (unsigned i = 0; i < SENT_PACKETS; i++) {
                packet_send(taps[vm], p);
                n += count_large(fd);
        }
        while (poll(&pfd, 1, 100) > 0)
                n += count_large(fd);
        return n;
}

static unsigned sent6(int vm) {
        Packet p = large_packet(vms[vm].address6, OUTSIDE6);

        return passed(vm, &p, uplink);
}

static unsigned sent4(int vm) {
        Packet p = large_packet(vms[vm].address4, OUTSIDE4);

        return passed(vm, &p, uplink);
}

static unsigned sent_to_host(int vm) {
        const struct sockaddr_in a = {
                .sin_family = AF_INET, .sin_port = htons(2000), .sin_addr.s_addr = inet_addr(HOST4)
        };
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        Packet p = large_packet(vms[vm].address4, HOST4);

        assert_int_equal(bind(fd, (const struct sockaddr *) &a, sizeof(a)), 0);
        return passed(vm, &p, fd);
}

static int limit(int vm, uint64_t transmit_max) {
        return filter_set_transmit_max(filter, vms[vm].tap, transmit_max);
}

#define assert_burst(n) assert_in_range(n, BURST_PACKETS, BURST_PACKETS + SLOW_PACKETS)

static void what_a_vm_sends_is_limited_together(void **state) {
        assert_int_equal(sent6(ALICE), SENT_PACKETS);
        assert_int_equal(limit(ALICE, SLOW), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_burst(sent6(ALICE));
        assert_in_range(sent6(ALICE), 0, SLOW_PACKETS);
        assert_in_range(sent4(ALICE), 0, SLOW_PACKETS);
        assert_in_range(sent_to_host(ALICE), 0, SLOW_PACKETS);
        assert_int_equal(sent6(ALICE2), SENT_PACKETS);
        assert_int_equal(sent4(BOB), SENT_PACKETS);
        assert_int_equal(sent_to_host(BOB), SENT_PACKETS);
        assert_false(goes_out(BOB, vms[ALICE].address6));
}

static void what_a_limited_vm_gets_is_not(void **state) {
        Packet p = large_packet(OUTSIDE6, vms[ALICE].address6);
        unsigned n = 0;

        assert_int_equal(limit(ALICE, SLOW), 0);
        assert_burst(sent4(ALICE));
        for (unsigned i = 0; i < SENT_PACKETS; i++)
                n += packet_passes(uplink, &p, taps[ALICE], vms[ALICE].address6);
        assert_int_equal(n, SENT_PACKETS);
}

static void a_limit_is_changed_and_lifted(void **state) {
        assert_int_equal(limit(ALICE, SLOW), 0);
        assert_burst(sent6(ALICE));
        assert_int_equal(limit(ALICE, SLOW), 0); /* no change, and so no new bucket */
        assert_in_range(sent6(ALICE), 0, SLOW_PACKETS);
        assert_int_equal(limit(ALICE, SENT_PACKETS * LARGE), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_int_equal(sent6(ALICE), SENT_PACKETS);
        assert_int_equal(limit(ALICE, SLOW), 0);
        assert_burst(sent4(ALICE));
        assert_int_equal(limit(ALICE, UINT64_MAX), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_int_equal(sent6(ALICE), SENT_PACKETS);
        assert_int_equal(limit(ALICE, UINT64_MAX), 0);
        assert_int_equal(limit(ALICE, 0), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_int_equal(filter_dispatch(filter), 0);
        assert_false(goes_out(ALICE, vms[BOB].address6));
}

static pid_t send_forever(int vm) {
        Packet p = large_packet(vms[vm].address6, OUTSIDE6);
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
                (void) !write(taps[vm], p.data, p.size);
}

/* Every change fills the bucket once, and at a byte a second nothing else does. */
static void there_is_no_moment_without_a_limit(void **state) {
        const unsigned changes = 100, most = changes * (unsigned) (FILTER_TRANSMIT_BURST / LARGE);
        unsigned n = 0;
        pid_t pid;

        assert_int_equal(limit(ALICE, 1), 0);
        assert_in_range(sent6(ALICE), BURST_PACKETS - 1, BURST_PACKETS);
        pid = send_forever(ALICE);
        for (unsigned i = 0; i < changes; i++) {
                assert_int_equal(limit(ALICE, 2 - i % 2), 0);
                assert_int_equal(usleep(2 * USEC_PER_MSEC), 0);
                n += count_large(uplink);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        n += count_large(uplink);
        assert_in_range(n, 1, most);
}

static void a_limit_is_there_again_with_the_table(void **state) {
        assert_int_equal(limit(ALICE, SLOW), 0);
        assert_int_equal(filter_install(filter), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_burst(sent6(ALICE));
        somebody_else("flush ruleset");
        assert_int_equal(sent6(ALICE), SENT_PACKETS);
        assert_int_equal(filter_install(filter), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_burst(sent6(ALICE));

        somebody_else("flush ruleset");
        assert_int_equal(limit(BOB, SLOW), 0); /* mends it, too */
        assert_int_equal(filter_check(filter), 1);
        assert_burst(sent6(ALICE));
        assert_burst(sent6(BOB));

        assert_int_equal(filter_uninstall(filter), 0);
        assert_int_equal(limit(BOB, UINT64_MAX), 0); /* only remembered */
        assert_int_equal(filter_install(filter), 0);
        assert_burst(sent6(ALICE));
        assert_int_equal(sent6(BOB), SENT_PACKETS);
}

static void a_limit_comes_and_goes_with_its_tap(void **state) {
        FilterTap alice = filter_tap(ALICE);

        assert_int_equal(limit(ALICE, SLOW), 0);
        assert_int_equal(filter_remove(filter, vms[ALICE].tap), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_int_equal(limit(ALICE, SLOW), -ENOENT);
        assert_int_equal(filter_add(filter, &alice), 0);
        assert_int_equal(sent6(ALICE), SENT_PACKETS);
        assert_int_equal(filter_remove(filter, vms[ALICE].tap), 0);
        alice.transmit_max = SLOW;
        assert_int_equal(filter_add(filter, &alice), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_burst(sent6(ALICE));
}

static void every_limit_can_be_set(void **state) {
        static const uint64_t limits[] = { 1, SLOW, UINT32_MAX, FILTER_TRANSMIT_MAX, FILTER_TRANSMIT_MAX + 1,
                UINT64_MAX - 1 };

        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                assert_int_equal(limit(ALICE, limits[i]), 0);
                assert_int_equal(filter_check(filter), 1);
        }
        assert_int_equal(sent6(ALICE), SENT_PACKETS);
}

/* Others */

static void a_flush_by_somebody_else_is_noticed_and_mended(void **state) {
        struct pollfd pfd = { .fd = filter_fd(filter), .events = POLLIN };

        assert_int_equal(filter_dispatch(filter), 0); /* what install() did is no news */
        assert_int_equal(filter_check(filter), 1);
        somebody_else("flush ruleset");
        assert_int_equal(poll(&pfd, 1, 1000), 1);
        assert_int_equal(filter_dispatch(filter), 1);
        assert_int_equal(filter_check(filter), 0);
        assert_true(goes_out(ALICE, vms[BOB].address6));

        assert_int_equal(filter_install(filter), 0);
        assert_int_equal(filter_dispatch(filter), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_false(goes_out(ALICE, vms[BOB].address6));
        assert_true(goes_out(ALICE, vms[ALICE].address6));
}

static void a_change_from_within_is_noticed(void **state) {
        static const char *const changes[] = {
                "add rule inet " FILTER_TABLE " forward accept",
                "insert rule inet " FILTER_TABLE " source accept",
                "flush chain inet " FILTER_TABLE " between",
                "delete element inet " FILTER_TABLE " taps { \"tap-0000000a\" }",
                "delete element inet " FILTER_TABLE " limited { \"tap-0000000a\" }",
                "add element inet " FILTER_TABLE " peers6 { \"tap-0000000b\" . fd00:1::a }",
                "delete table inet " FILTER_TABLE,
        };

        assert_int_equal(limit(ALICE, SLOW), 0);
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                somebody_else(changes[i]);
                assert_int_equal(filter_dispatch(filter), 1);
                assert_int_equal(filter_check(filter), 0);
                assert_int_equal(filter_install(filter), 0);
                assert_int_equal(filter_dispatch(filter), 0);
                assert_int_equal(filter_check(filter), 1);
        }
}

static void changes_of_other_tables_are_no_news(void **state) {
        somebody_else("add table inet other\nadd chain inet other c\nadd rule inet other c drop");
        somebody_else("add table ip " FILTER_TABLE "\ndelete table ip " FILTER_TABLE);
        somebody_else("delete table inet other");
        assert_int_equal(filter_dispatch(filter), 0);
        assert_int_equal(filter_check(filter), 1);
}

static void own_changes_beside_those_of_others_are_told_apart(void **state) {
        assert_int_equal(filter_remove(filter, vms[BOB].tap), 0);
        somebody_else("add table inet other");
        assert_int_equal(filter_remove(filter, vms[ALICE].tap), 0);
        somebody_else("delete table inet other");
        assert_int_equal(filter_dispatch(filter), 0);
        somebody_else("flush chain inet " FILTER_TABLE " between");
        assert_int_equal(filter_remove(filter, vms[ALICE2].tap), 0);
        assert_int_equal(filter_dispatch(filter), 1);
}

static void adding_and_removing_mend_a_lost_table(void **state) {
        FilterTap bob = filter_tap(BOB);

        assert_int_equal(filter_remove(filter, vms[BOB].tap), 0);
        somebody_else("flush ruleset");
        assert_int_equal(filter_add(filter, &bob), 0);
        assert_int_equal(filter_check(filter), 1);
        somebody_else("flush ruleset");
        assert_int_equal(filter_remove(filter, vms[BOB].tap), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_true(goes_out(ALICE, vms[ALICE].address6));
        assert_false(goes_out(ALICE, vms[BOB].address6));
}

/* clang-format off */
/* As firewalld 1.3 writes it, shortened to one zone. */
#define FIREWALLD                                                                                          \
        "table inet firewalld {\n"                                                                         \
        "  chain filter_PREROUTING { type filter hook prerouting priority 10; policy accept;\n"            \
        "    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept\n"                               \
        "    meta nfproto ipv6 fib saddr . mark . iif oif missing drop\n  }\n"                             \
        "  chain nat_POSTROUTING { type nat hook postrouting priority 110; policy accept;\n  }\n"          \
        "  chain filter_FWD_public { oifname \"uplink\" iifname \"docker0\" accept\n  }\n"                 \
        "  chain filter_FORWARD { type filter hook forward priority 10; policy accept;\n"                  \
        "    ct state { established, related } accept\n"                                                   \
        "    ct status dnat accept\n"                                                                      \
        "    iifname \"lo\" accept\n"                                                                      \
        "    iifname \"docker0\" goto filter_FWD_public\n"                                                 \
        "    ct state invalid drop\n"                                                                      \
        "    reject with icmpx admin-prohibited\n  }\n"                                                    \
        "}\n"

/* As iptables-nft has Docker's rules. */
#define DOCKER                                                                                             \
        "table ip nat {\n"                                                                                 \
        "  chain DOCKER { iifname \"docker0\" counter return\n  }\n"                                       \
        "  chain PREROUTING { type nat hook prerouting priority -100; policy accept;\n"                    \
        "    fib daddr type local counter jump DOCKER\n  }\n"                                              \
        "  chain POSTROUTING { type nat hook postrouting priority 100; policy accept;\n"                   \
        "    oifname != \"docker0\" ip saddr 172.17.0.0/16 counter masquerade\n  }\n"                      \
        "}\n"                                                                                              \
        "table ip filter {\n"                                                                              \
        "  chain DOCKER {\n  }\n"                                                                          \
        "  chain DOCKER-USER { counter return\n  }\n"                                                      \
        "  chain FORWARD { type filter hook forward priority 0; policy drop;\n"                            \
        "    counter jump DOCKER-USER\n"                                                                   \
        "    oifname \"docker0\" ct state related,established counter accept\n"                            \
        "    oifname \"docker0\" counter jump DOCKER\n"                                                    \
        "    iifname \"docker0\" oifname != \"docker0\" counter accept\n  }\n"                             \
        "}\n"
/* clang-format on */

static void foreign_tables_stay_as_they_are(void **state) {
        _cleanup_free_ char *before = NULL, *after = NULL;
        FilterTap bob = filter_tap(BOB);

        assert_int_equal(filter_uninstall(filter), 0);
        somebody_else(FIREWALLD DOCKER);
        before = show("list ruleset");
        assert_int_equal(filter_install(filter), 0);
        assert_int_equal(filter_remove(filter, vms[BOB].tap), 0);
        assert_int_equal(filter_add(filter, &bob), 0);
        assert_int_equal(filter_install(filter), 0);
        assert_int_equal(filter_check(filter), 1);
        assert_int_equal(filter_uninstall(filter), 0);
        after = show("list ruleset");
        assert_string_equal(before, after);
        assert_int_equal(filter_install(filter), 0);
        somebody_else("flush ruleset");
}

static void others_are_not_in_our_way_nor_we_in_theirs(void **state) {
        int docker = playground_tun("docker0");
        Packet container = packet_udp("172.17.0.2", OUTSIDE4, 1000, 2000, "container"), seen;

        playground_route("docker0", "172.17.0.2", 32);
        somebody_else(FIREWALLD DOCKER);
        packet_send(docker, &container);
        assert_true(packet_receive(uplink, OUTSIDE4, &seen));
        assert_string_equal(packet_source(&seen), HOST4);
        container = packet_udp("172.17.0.2", "169.254.169.254", 1000, 80, "container");
        assert_true(packet_passes(docker, &container, uplink, "169.254.169.254"));

        /* What `firewall-cmd --zone=trusted --add-interface=tap-*` and two rules in DOCKER-USER come to */
        somebody_else("insert rule inet firewalld filter_FORWARD iifname \"tap-*\" accept\n"
                      "insert rule inet firewalld filter_FORWARD oifname \"tap-*\" accept\n"
                      "insert rule ip filter DOCKER-USER iifname \"tap-*\" accept\n"
                      "insert rule ip filter DOCKER-USER oifname \"tap-*\" accept\n");
        assert_true(goes_out(ALICE, vms[ALICE].address6));
        assert_true(goes_out(ALICE, vms[ALICE].address4));
        assert_false(goes_out(ALICE, vms[BOB].address6));
        assert_false(reaches(ALICE, BOB, taps[BOB]));
        assert_true(reaches(ALICE, ALICE2, taps[ALICE2]));
        safe_close(docker);
        somebody_else("flush ruleset");
}

static void who_drops_what_is_ours_is_named(void **state) {
        _cleanup_strv_free_ char **none = NULL, **l = NULL, **one = NULL, **left = NULL;

        somebody_else("table inet quiet { chain f { type filter hook forward priority 0; tcp dport 25 drop; }; }\n"
                      "table inet input { chain f { type filter hook input priority 0; policy drop; }; }\n");
        assert_int_equal(filter_obstacles(filter, &none), 0);
        assert_int_equal(strv_length(none), 0);

        somebody_else(FIREWALLD DOCKER);
        assert_false(goes_out(ALICE, vms[ALICE].address4));
        assert_int_equal(filter_obstacles(filter, &l), 0);
        assert_int_equal(strv_length(l), 2);
        assert_true(strv_contains(l, "inet firewalld filter_FORWARD"));
        assert_true(strv_contains(l, "ip filter FORWARD"));

        somebody_else("insert rule ip filter DOCKER-USER iifname \"tap-*\" accept\n"
                      "insert rule ip filter DOCKER-USER oifname \"tap-*\" accept\n");
        assert_int_equal(filter_obstacles(filter, &one), 0);
        assert_int_equal(strv_length(one), 2); /* nobody wakes one that sleeps */
        somebody_else("insert rule ip filter DOCKER-USER oifname \"hero-wake\" accept\n");
        assert_int_equal(filter_obstacles(filter, &left), 0);
        assert_int_equal(strv_length(left), 1);
        assert_string_equal(left[0], "inet firewalld filter_FORWARD");
        somebody_else("flush ruleset");
}

/* Values */

static void what_is_no_name_or_address_of_a_vm_is_refused(void **state) {
        static const char *const names[] = { "", "tap-0123456789ab", "tap\" }; flush ruleset; #", "tap *",
                "-x", "a\nb" };
        static const char *const bad6[] = { "fe80::5", "ff02::1", "::1", "::ffff:1.2.3.4" };
        static const char *const bad4[] = { "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255",
                "0.1.2.3" };
        FilterTap t = { .owner = "eve" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                t.tap = names[i];
                assert_int_equal(filter_add(filter, &t), -EINVAL);
        }
        t.tap = "tap-00000001";
        for (size_t i = 0; i < ELEMENTSOF(bad6); i++) {
                assert_int_equal(inet_pton(AF_INET6, bad6[i], &t.address6), 1);
                assert_int_equal(filter_add(filter, &t), -EINVAL);
        }
        t.address6 = in6addr_any;
        for (size_t i = 0; i < ELEMENTSOF(bad4); i++) {
                assert_int_equal(inet_pton(AF_INET, bad4[i], &t.address4), 1);
                assert_int_equal(filter_add(filter, &t), -EINVAL);
        }
        assert_int_equal(filter_check(filter), 1);
}

static void a_tap_or_address_is_there_once(void **state) {
        FilterTap t = filter_tap(ALICE);

        assert_int_equal(filter_add(filter, &t), -EEXIST);
        t.tap = "tap-00000001";
        assert_int_equal(filter_add(filter, &t), -EADDRINUSE);
        t.address6.s6_addr[15]++;
        assert_int_equal(filter_add(filter, &t), -EADDRINUSE); /* the IPv4 address */
        assert_int_equal(filter_remove(filter, "tap-00000001"), 0);
        assert_int_equal(filter_check(filter), 1);
}

static FilterTap numbered(unsigned i, char name[static 16]) {
        FilterTap t = { .tap = name, .transmit_max = 1 << 20 };

        (void) snprintf(name, 16, "tap-%08x", 0x1000 + i);
        t.address6 = (struct in6_addr){
                { { 0xfd, 0, 0, 5, [14] = (uint8_t) (i >> 8), [15] = (uint8_t) i } }
        };
        t.address4.s_addr = htonl(0x0a640000 + i);
        return t;
}

static void one_owner_has_so_many_vms_at_most(void **state) {
        char name[16];

        for (unsigned i = 0; i < FILTER_OWNER_TAPS_MAX + 1; i++) {
                FilterTap t = numbered(i, name);

                t.owner = "carol";
                assert_int_equal(filter_add(filter, &t), i < FILTER_OWNER_TAPS_MAX ? 0 : -E2BIG);
        }
        assert_int_equal(filter_check(filter), 1);
}

#define MANY 1000u

static void a_thousand_taps_come_and_go_and_leave_nothing(void **state) {
        _cleanup_free_ char *before = NULL, *after = NULL;
        uint64_t t0, added, changed, removed;
        char name[16], owner[16];

        before = show("list table inet " FILTER_TABLE);
        t0 = now_usec(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < MANY; i++) {
                FilterTap t = numbered(i, name);

                (void) snprintf(owner, sizeof(owner), "user%u", i / 2);
                t.owner = owner;
                assert_int_equal(filter_add(filter, &t), 0);
        }
        added = now_usec(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < MANY; i++) {
                numbered(i, name);
                assert_int_equal(filter_set_transmit_max(filter, name, 2 << 20), 0);
        }
        changed = now_usec(CLOCK_MONOTONIC);
        assert_int_equal(filter_check(filter), 1);
        removed = now_usec(CLOCK_MONOTONIC);
        print_message("%u TAPs added, each in %u µs; limits changed, each in %u µs; checked in %u µs\n",
                        MANY, (unsigned) ((added - t0) / MANY), (unsigned) ((changed - added) / MANY),
                        (unsigned) (removed - changed));
        for (unsigned i = 0; i < MANY; i++) {
                numbered(i, name);
                assert_int_equal(filter_remove(filter, name), 0);
        }
        print_message("removed, each in %u µs\n", (unsigned) ((now_usec(CLOCK_MONOTONIC) - removed) / MANY));
        after = show("list table inet " FILTER_TABLE);
        assert_string_equal(before, after);
        assert_int_equal(filter_dispatch(filter), 0);
        assert_true(added - t0 < MANY * 20 * USEC_PER_MSEC);
}

static void a_thousand_adopted_taps_are_one_transaction(void **state) {
        _cleanup_(filter_freep) Filter *f = NULL;
        char name[16];
        uint64_t t0;

        assert_int_equal(filter_new(&f), 0);
        add_all(f);
        for (unsigned i = 0; i < MANY; i++) {
                FilterTap t = numbered(i, name);

                assert_int_equal(filter_add(f, &t), 0);
        }
        t0 = now_usec(CLOCK_MONOTONIC);
        assert_int_equal(filter_install(f), 0);
        print_message("installed in %u µs\n", (unsigned) (now_usec(CLOCK_MONOTONIC) - t0));
        assert_int_equal(filter_check(f), 1);
        assert_int_equal(filter_check(filter), 0); /* the one of before the restart */
        assert_false(goes_out(ALICE, vms[BOB].address6));
}

static void the_table_outlives_the_daemon(void **state) {
        filter = filter_free(filter);
        assert_false(goes_out(ALICE, vms[BOB].address6));
        assert_true(goes_out(ALICE, vms[ALICE].address6));
        install(NULL);
        assert_int_equal(filter_check(filter), 1);
}

/* libnftables waits with select(), in which such a number is the end of the process. */
static void so_many_fds_as_a_thousand_vms_have_do_no_harm(void **state) {
        const struct rlimit many = { 4096, 4096 };
        Filter *f, *g = NULL;
        int null, last;

        assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
        assert_int_equal(low_fd_keep(), 0);
        null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        do
                last = dup(null);
        while (last >= 0 && last < 2000);
        assert_int_equal(last, 2000);

        for (int i = 0; i < 2; i++) {
                assert_int_equal(filter_new(&f), 0);
                assert_int_equal(filter_new(&g), -EMFILE);
                add_all(f);
                assert_int_equal(filter_install(f), 0);
                assert_int_equal(filter_check(f), 1);
                f = filter_free(f);
        }
        assert_int_equal(close_range((unsigned) null, (unsigned) last, 0), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, install, uninstall)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_vm_speaks_with_its_own_addresses_only),
                TEST(without_the_filter_all_of_it_would_pass),
                TEST(vms_of_one_owner_reach_each_other_and_no_others),
                TEST(two_vms_of_nobody_do_not_reach_each_other),
                TEST(a_sleeping_vm_is_woken_by_its_owners_vms_and_the_outside_only),
                TEST(the_outside_reaches_every_vm),
                TEST(metadata_addresses_are_out_of_reach),
                TEST(ipv4_leaves_under_the_hosts_address_and_comes_back),
                TEST(between_vms_nothing_is_masqueraded),
                TEST(neighbour_discovery_passes_within_its_limit),
                TEST(what_a_vm_sends_is_limited_together),
                TEST(what_a_limited_vm_gets_is_not),
                TEST(a_limit_is_changed_and_lifted),
                TEST(there_is_no_moment_without_a_limit),
                TEST(a_limit_is_there_again_with_the_table),
                TEST(a_limit_comes_and_goes_with_its_tap),
                TEST(every_limit_can_be_set),
                TEST(a_flush_by_somebody_else_is_noticed_and_mended),
                TEST(a_change_from_within_is_noticed),
                TEST(changes_of_other_tables_are_no_news),
                TEST(own_changes_beside_those_of_others_are_told_apart),
                TEST(adding_and_removing_mend_a_lost_table),
                TEST(foreign_tables_stay_as_they_are),
                TEST(others_are_not_in_our_way_nor_we_in_theirs),
                TEST(who_drops_what_is_ours_is_named),
                TEST(what_is_no_name_or_address_of_a_vm_is_refused),
                TEST(a_tap_or_address_is_there_once),
                TEST(one_owner_has_so_many_vms_at_most),
                TEST(a_thousand_taps_come_and_go_and_leave_nothing),
                TEST(a_thousand_adopted_taps_are_one_transaction),
                TEST(the_table_outlives_the_daemon),
                TEST(so_many_fds_as_a_thousand_vms_have_do_no_harm),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
