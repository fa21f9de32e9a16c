/* SPDX-License-Identifier: Apache-2.0 */

/* Connections over lo and into a device that nobody answers behind, as the kernel tracks them. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/fd-util.h"
#include "network-namespace.h"
#include "network/flows.h"
#include "network/nft-client.h"
#include "playground.h"

/* Two VMs, one of which has two addresses, and somebody else. */
#define WEB "fd12::a"
#define WEB4 "10.104.0.2"
#define OTHER "fd12::b"
#define OUTSIDE "fd99::1"
#define OUTSIDE4 "10.99.0.1"
#define PORT 7777

static Netlink *nl;

static bool is_open(const char *address) {
        static const char *const all[] = { WEB, WEB4, OTHER };
        FlowAddress addresses[ELEMENTSOF(all)] = {};
        Address a;

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                assert_int_equal(address_parse(all[i], &addresses[i].address), 0);
        assert_int_equal(address_parse(address, &a), 0);
        assert_int_equal(flows_find(nl, addresses, ELEMENTSOF(all)), 0);
        return flows_is_open(addresses, ELEMENTSOF(all), &a);
}

static socklen_t name(struct sockaddr_storage *ret, const char *address, uint16_t port) {
        *ret = (struct sockaddr_storage) {};
        if (strchr(address, ':')) {
                struct sockaddr_in6 *a = (struct sockaddr_in6 *) ret;

                a->sin6_family = AF_INET6;
                a->sin6_port = htons(port);
                assert_int_equal(inet_pton(AF_INET6, address, &a->sin6_addr), 1);
                return sizeof(*a);
        }
        ((struct sockaddr_in *) ret)->sin_family = AF_INET;
        ((struct sockaddr_in *) ret)->sin_port = htons(port);
        assert_int_equal(inet_pton(AF_INET, address, &((struct sockaddr_in *) ret)->sin_addr), 1);
        return sizeof(struct sockaddr_in);
}

static int make(int type, const char *from, uint16_t port) {
        struct sockaddr_storage a;
        socklen_t n = name(&a, from, port);
        int fd, one = 1;

        fd = socket(a.ss_family, type | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), errno);
        assert_return_code(bind(fd, (struct sockaddr *) &a, n), errno);
        return fd;
}

static int go(int fd, const char *to) {
        struct sockaddr_storage a;
        socklen_t n = name(&a, to, PORT);

        return connect(fd, (struct sockaddr *) &a, n) < 0 ? -errno : 0;
}

static void connection_counts_from_either_end_until_both_have_closed_it(void **state) {
        static const char *const pairs[][2] = { { OUTSIDE, WEB }, { WEB, OUTSIDE }, { OUTSIDE4, WEB4 }, { WEB4, OUTSIDE4 } };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                _cleanup_close_ int server = make(SOCK_STREAM, pairs[i][1], PORT), client = make(SOCK_STREAM, pairs[i][0], 0);
                const char *vm = i % 2 == 0 ? pairs[i][1] : pairs[i][0];
                int peer;

                assert_false(is_open(vm));
                assert_return_code(listen(server, 5), errno);
                assert_int_equal(go(client, pairs[i][1]), 0);
                peer = accept(server, NULL, NULL);
                assert_true(peer >= 0);
                assert_true(is_open(vm));
                assert_false(is_open(OTHER));
                assert_return_code(shutdown(client, SHUT_WR), errno);
                assert_true(is_open(vm)); /* the answer may still come */
                safe_close(peer);
                assert_false(is_open(vm));
        }
}

static void connection_that_nobody_answers_counts(void **state) {
        _cleanup_close_ int fd = make(SOCK_STREAM, OTHER, 0);

        assert_return_code(fcntl(fd, F_SETFL, O_NONBLOCK), errno);
        assert_false(is_open(OTHER));
        assert_int_equal(go(fd, "fd77::1"), -EINPROGRESS);
        assert_true(is_open(OTHER));
        assert_false(is_open(WEB));
}

static void refused_connection_does_not_count(void **state) {
        _cleanup_close_ int fd = make(SOCK_STREAM, OUTSIDE, 0);

        assert_int_equal(go(fd, WEB), -ECONNREFUSED);
        assert_false(is_open(WEB));
}

static void say(int from, const char *to, int at) {
        struct sockaddr_storage a;
        socklen_t n = name(&a, to, PORT);
        struct pollfd p = { .fd = at, .events = POLLIN };
        char c = 'x';

        (void) n;
        assert_int_equal(send(from, &c, 1, 0), 1);
        assert_int_equal(poll(&p, 1, 1000), 1);
        assert_int_equal(recv(at, &c, 1, 0), 1);
}

static void question_and_answer_by_udp_do_not_count_but_an_exchange_that_goes_on_does(void **state) {
        _cleanup_close_ int server = make(SOCK_DGRAM, WEB, PORT), client = make(SOCK_DGRAM, OUTSIDE, PORT);

        assert_int_equal(go(server, OUTSIDE), 0);
        assert_int_equal(go(client, WEB), 0);
        say(client, WEB, server);
        say(server, OUTSIDE, client);
        assert_false(is_open(WEB));
        sleep(3); /* from 2 s on it is a stream for the kernel */
        say(client, WEB, server);
        say(server, OUTSIDE, client);
        assert_true(is_open(WEB));
}

static void nothing_is_asked_for_no_addresses(void **state) {
        Address a = { .family = AF_INET };

        assert_int_equal(flows_find(nl, NULL, 0), 0);
        assert_false(flows_is_open(NULL, 0, &a));
}

static void socket_for_links_tells_nothing_and_marks_nothing(void **state) {
        _cleanup_(netlink_closep) Netlink *links = NULL;
        FlowAddress a = { .open = true };

        assert_int_equal(netlink_open(&links), 0);
        assert_true(flows_find(links, &a, 1) < 0);
        assert_false(a.open);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(connection_counts_from_either_end_until_both_have_closed_it),
                cmocka_unit_test(connection_that_nobody_answers_counts),
                cmocka_unit_test(refused_connection_does_not_count),
                cmocka_unit_test(question_and_answer_by_udp_do_not_count_but_an_exchange_that_goes_on_does),
                cmocka_unit_test(nothing_is_asked_for_no_addresses),
                cmocka_unit_test(socket_for_links_tells_nothing_and_marks_nothing),
        };
        _cleanup_close_ int tun = -EBADF;
        NftClient *nft;
        int r = playground_enter();

        if (r < 0) {
                fprintf(stderr, "No network namespace of its own: %s\n", strerror(-r));
                return EXIT_SKIP;
        }
        playground_address("lo", WEB, 128);
        playground_address("lo", OTHER, 128);
        playground_address("lo", OUTSIDE, 128);
        /* One address of IPv4 a device: further ones are aliases. */
        playground_address("lo", WEB4, 32);
        playground_address("lo:1", OUTSIDE4, 32);
        tun = playground_tun("nobody");
        playground_route("nobody", "fd77::", 64);
        /* A rule that asks makes the kernel track. */
        r = nft_client_new(&nft);
        if (r >= 0)
                r = nft_client_run(nft, "add table inet t; add chain inet t c { type filter hook output priority 0; }; "
                                        "add rule inet t c ct state invalid accept");
        nft_client_free(nft);
        if (r >= 0)
                r = netlink_open_netfilter(&nl);
        if (r < 0) {
                fprintf(stderr, "No connection tracking: %s\n", strerror(-r));
                return 1;
        }
        r = cmocka_run_group_tests(tests, NULL, NULL);
        nl = netlink_close(nl);
        return r;
}
