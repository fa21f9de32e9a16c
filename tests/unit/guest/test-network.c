/* SPDX-License-Identifier: Apache-2.0 */

/* The guest's network in a network namespace of its own, with a TAP as its eth0: what counts is which frames come out of
 * it. Needs root; otherwise it says so and skips. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
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
#include "basic/time-util.h"
#include "guest-init/network.h"

#define SKIPPED 77
#define PATIENCE (5 * USEC_PER_SEC)

static int tap_fd = -EBADF;

static int enter_namespace(void **state) {
        return unshare(CLONE_NEWNET) < 0 ? -1 : 0;
}

/* A namespace with eth0, a TAP that nobody has brought up. */
static int setup(void **state) {
        struct ifreq ifr = { .ifr_name = NETWORK_DEVICE, .ifr_flags = IFF_TAP | IFF_NO_PI };

        if (enter_namespace(state) < 0)
                return -1;
        tap_fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        return tap_fd < 0 || ioctl(tap_fd, TUNSETIFF, &ifr) < 0 ? -1 : 0;
}

static int teardown(void **state) {
        tap_fd = safe_close(tap_fd);
        return 0;
}

static GpAddress address(const char *text) {
        GpAddress a = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

        assert_int_equal(inet_pton(a.family, text, a.bytes), 1);
        return a;
}

static void add_address(NetworkConfig *c, const char *text, uint8_t length) {
        c->addresses[c->n_addresses++] = (GpPrefix) { .address = address(text), .length = length };
}

static void add_route(NetworkConfig *c, const char *text, uint8_t length, const char *gateway) {
        c->routes[c->n_routes++] = (GpRoute) {
                .destination = { .address = address(text), .length = length },
                .gateway = gateway ? address(gateway) : (GpAddress) {},
        };
}

/* As the daemon makes it. */
static NetworkConfig example(void) {
        NetworkConfig c = { .mtu = 1400 };

        add_address(&c, "5ab:1::ff0f:102:304:506", 128);
        add_address(&c, "100.64.0.2", 32);
        add_route(&c, "400::", 7, "fe80::1");
        add_route(&c, "::", 0, "fe80::1");
        add_route(&c, "0.0.0.0", 0, "169.254.1.1");
        return c;
}

static void up(const NetworkConfig *c) {
        _cleanup_free_ char *why = NULL;

        if (network_up(c, &why) < 0)
                fail_msg("%s", strna(why));
}

static short flags_of(const char *name) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};

        strcpy(ifr.ifr_name, name);
        assert_return_code(ioctl(fd, SIOCGIFFLAGS, &ifr), errno);
        return ifr.ifr_flags;
}

static int mtu_of(const char *name) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};

        strcpy(ifr.ifr_name, name);
        assert_return_code(ioctl(fd, SIOCGIFMTU, &ifr), errno);
        return ifr.ifr_mtu;
}

/* Sends a datagram to destination; the source address it had is in *ret_source, or -errno. */
static int send_to(const char *destination, GpAddress *ret_source) {
        GpAddress d = address(destination);
        _cleanup_close_ int fd = socket(d.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(9) };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
        bool v6 = d.family == AF_INET6;
        struct sockaddr *sa = v6 ? (struct sockaddr *) &in6 : (struct sockaddr *) &in;
        socklen_t n = v6 ? sizeof(in6) : sizeof(in);

        memcpy(v6 ? (void *) &in6.sin6_addr : (void *) &in.sin_addr, d.bytes, gp_family_size(d.family));
        if (connect(fd, sa, n) < 0 || send(fd, "x", 1, 0) < 0)
                return negative_errno();
        assert_return_code(getsockname(fd, sa, &n), errno);
        *ret_source = (GpAddress) { .family = d.family };
        memcpy(ret_source->bytes, v6 ? (void *) &in6.sin6_addr : (void *) &in.sin_addr, gp_family_size(d.family));
        return 0;
}

typedef struct Asked {
        GpAddress source, target;
} Asked;

/* An ARP request, or a neighbour solicitation from an address that is in use already: duplicate address detection asks
 * from the unspecified one. */
static bool parse_question(const uint8_t *p, size_t n, int family, Asked *ret) {
        *ret = (Asked) { .source.family = family, .target.family = family };
        if (family == AF_INET && n >= 42 && p[12] == 0x08 && p[13] == 0x06 && p[21] == 1) {
                memcpy(ret->source.bytes, p + 28, 4);
                memcpy(ret->target.bytes, p + 38, 4);
                return true;
        }
        if (family == AF_INET6 && n >= 14 + 40 + 24 && p[12] == 0x86 && p[13] == 0xdd && p[20] == IPPROTO_ICMPV6 &&
            p[54] == 135) {
                memcpy(ret->source.bytes, p + 22, 16);
                memcpy(ret->target.bytes, p + 62, 16);
                return true;
        }
        return false;
}

/* Which neighbour the kernel looks for to get there, and in whose name. */
static void expect_question(const char *destination, const char *source, const char *neighbour) {
        GpAddress s = address(source), t = address(neighbour), from;
        uint64_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE;
        uint8_t frame[2048];
        Asked asked;

        assert_return_code(send_to(destination, &from), 0);
        assert_memory_equal(&from, &s, sizeof(s));
        for (;;) {
                ssize_t n = read(tap_fd, frame, sizeof(frame));

                if (n > 0 && parse_question(frame, (size_t) n, t.family, &asked) &&
                    memcmp(&asked.target, &t, sizeof(t)) == 0) {
                        assert_memory_equal(&asked.source, &s, sizeof(s));
                        return;
                }
                if (now_usec(CLOCK_MONOTONIC) > until)
                        fail_msg("nobody asked for %s", neighbour);
                if (n < 0)
                        (void) poll(&(struct pollfd) { .fd = tap_fd, .events = POLLIN }, 1, 100);
        }
}

static void without_addresses_only_the_loopback_is_up(void **state) {
        const NetworkConfig none = { .mtu = 1400 };
        GpAddress source;

        assert_false(flags_of("lo") & IFF_UP);
        up(&none);
        assert_true(flags_of("lo") & IFF_UP);
        assert_false(flags_of(NETWORK_DEVICE) & IFF_UP);
        assert_return_code(send_to("127.0.0.1", &source), 0);
        assert_return_code(send_to("::1", &source), 0);
        assert_int_equal(send_to("400::1", &source), -ENETUNREACH);
}

static void everything_goes_to_the_gateway_in_the_guest_s_name(void **state) {
        NetworkConfig c = example();

        up(&c);
        assert_true(flags_of("lo") & IFF_UP);
        assert_true(flags_of(NETWORK_DEVICE) & IFF_UP);
        assert_int_equal(mtu_of(NETWORK_DEVICE), 1400);
        expect_question("400::1", "5ab:1::ff0f:102:304:506", "fe80::1");
        expect_question("2001:db8::1", "5ab:1::ff0f:102:304:506", "fe80::1");
        /* Another VM of the same subnet is not a neighbour either. */
        expect_question("5ab:1::ff0f:102:304:507", "5ab:1::ff0f:102:304:506", "fe80::1");
        expect_question("192.0.2.1", "100.64.0.2", "169.254.1.1");
        expect_question("100.64.0.3", "100.64.0.2", "169.254.1.1");
}

static void an_address_makes_no_route_of_its_own(void **state) {
        NetworkConfig c = {};
        GpAddress source;

        add_address(&c, "10.1.2.3", 24);
        add_address(&c, "5ab:1::1", 64);
        up(&c);
        assert_int_equal(send_to("10.1.2.4", &source), -ENETUNREACH);
        assert_int_equal(send_to("5ab:1::2", &source), -ENETUNREACH);
}

static void a_route_without_gateway_is_to_neighbours(void **state) {
        NetworkConfig c = {};

        add_address(&c, "10.1.2.3", 32);
        add_address(&c, "5ab:1::1", 128);
        add_route(&c, "10.1.2.0", 24, NULL);
        add_route(&c, "5ab:1::", 64, NULL);
        up(&c);
        expect_question("10.1.2.4", "10.1.2.3", "10.1.2.4");
        expect_question("5ab:1::2", "5ab:1::1", "5ab:1::2");
}

static void routers_on_the_wire_are_not_listened_to(void **state) {
        NetworkConfig c = example();
        _cleanup_free_ char *text = NULL;

        up(&c);
        assert_return_code(read_full_file(AT_FDCWD, "/proc/sys/net/ipv6/conf/" NETWORK_DEVICE "/accept_ra", 16, &text, NULL), 0);
        assert_string_equal(text, "0\n");
}

static void to_do_it_twice_is_no_error(void **state) {
        NetworkConfig c = example();

        up(&c);
        up(&c);
        expect_question("400::1", "5ab:1::ff0f:102:304:506", "fe80::1");
}

static void expect_failure(const NetworkConfig *c, int error, const char *sentence) {
        _cleanup_free_ char *why = NULL;

        assert_int_equal(network_up(c, &why), error);
        assert_non_null(why);
        if (!strstr(why, sentence))
                fail_msg("\"%s\" does not say \"%s\"", why, sentence);
}

static void errors_say_at_which_step(void **state) {
        NetworkConfig c = { .mtu = GP_MTU_MAX };

        add_address(&c, "10.1.2.3", 32);
        expect_failure(&c, -EINVAL, "up with an MTU of 65535");
        c.mtu = 0;
        add_address(&c, "ff02::1", 128);
        expect_failure(&c, -EADDRNOTAVAIL, "the address ff02::1/128");
        c.n_addresses = 1;
        add_route(&c, "10.0.0.0", 8, "10.1.2.3");
        expect_failure(&c, -EINVAL, "the route to 10.0.0.0/8 via 10.1.2.3");
}

static void a_guest_without_device_says_so(void **state) {
        NetworkConfig c = example();

        expect_failure(&c, -ENODEV, "no network device eth0");
        assert_true(flags_of("lo") & IFF_UP);
}

#define network_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                network_test(without_addresses_only_the_loopback_is_up),
                network_test(everything_goes_to_the_gateway_in_the_guest_s_name),
                network_test(an_address_makes_no_route_of_its_own),
                network_test(a_route_without_gateway_is_to_neighbours),
                network_test(routers_on_the_wire_are_not_listened_to),
                network_test(to_do_it_twice_is_no_error),
                network_test(errors_say_at_which_step),
                cmocka_unit_test_setup(a_guest_without_device_says_so, enter_namespace),
        };

        if (enter_namespace(NULL) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
                fprintf(stderr, "test-guest-network: SKIPPED: network namespace and /dev/net/tun: %m\n");
                return SKIPPED;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
