/* SPDX-License-Identifier: Apache-2.0 */

/* A real guest on a TAP, in a network namespace that is the host and has nothing else: over its /128 and its /32 both ways,
 * with the very command line of the qemu driver.
 *
 *     guest-network-test KERNEL INITRD ROOT OVERLAY
 *
 * tests/system/guest/guest-boot makes these files and runs it. Needs root and /dev/net/tun; says so otherwise and skips. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../unit/network/own-tap.h"
#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "guest-init/network.h"
#include "guest-vm.h"

#define SKIPPED 77
#define PATIENCE_SEC 30
#define GUEST "5ab:1::ff0f:102:304:506"
#define GUEST_4 "100.64.0.2"
#define HOST "400:2::1"
#define HOST_4 "203.0.113.1"

static GuestVm vm = { .agent_fd = -EBADF, .console_fd = -EBADF };

static const char *output_of(const char *command) {
        const GuestOutput *o = &guest_run(&vm, command)->outputs[0];

        return o->p ? (const char *) o->p : "";
}

static GpAddress address(const char *text) {
        GpAddress a = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

        assert_int_equal(inet_pton(a.family, text, a.bytes), 1);
        return a;
}

static GpPrefix prefix(const char *text, uint8_t length) {
        return (GpPrefix) { .address = address(text), .length = length };
}

static GpRoute route(const char *text, uint8_t length, const char *gateway) {
        return (GpRoute) { .destination = prefix(text, length), .gateway = gateway ? address(gateway) : (GpAddress) {} };
}

/* The host. Its TAP has the name of a guest's device, so that the guest's own code can set it up. */

static void host_has_its_end(void **state) {
        const NetworkConfig c = {
                .addresses = { prefix("fe80::1", 64), prefix(HOST, 128), prefix("169.254.1.1", 32), prefix(HOST_4, 32) },
                .n_addresses = 4,
                .routes = { route(GUEST, 128, NULL), route(GUEST_4, 32, NULL) },
                .n_routes = 2,
                .mtu = 1400,
        };
        _cleanup_free_ char *why = NULL;

        if (network_up(&c, &why) < 0)
                fail_msg("%s", strna(why));
}

typedef union Endpoint {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
} Endpoint;

static socklen_t endpoint(const char *text, uint16_t port, Endpoint *ret) {
        GpAddress a = address(text);

        *ret = (Endpoint) {};
        ret->sa.sa_family = (sa_family_t) a.family;
        if (a.family == AF_INET6) {
                memcpy(&ret->in6.sin6_addr, a.bytes, 16);
                ret->in6.sin6_port = htons(port);
                return sizeof(ret->in6);
        }
        memcpy(&ret->in.sin_addr, a.bytes, 4);
        ret->in.sin_port = htons(port);
        return sizeof(ret->in);
}

static int stream_socket(const Endpoint *e) {
        const struct timeval patience = { .tv_sec = PATIENCE_SEC };
        int fd = socket(e->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_return_code(fd, errno);
        assert_return_code(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), errno);
        assert_return_code(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), errno);
        return fd;
}

/* A connection to a port of the guest, as soon as somebody listens there. */
static int connect_to_guest(const char *text, uint16_t port) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE_SEC * USEC_PER_SEC;
        Endpoint e;
        socklen_t n = endpoint(text, port, &e);

        for (;;) {
                int fd = stream_socket(&e);

                if (connect(fd, &e.sa, n) >= 0)
                        return fd;
                if (errno != ECONNREFUSED || now_usec(CLOCK_MONOTONIC) > until)
                        fail_msg("Cannot connect to %s: %s", text, strerror(errno));
                close(fd);
                usleep(50000);
        }
}

/* The guest. */

static GpWriter *boot_frame(void) {
        GpWriter *w;

        guest_start_in_bed(&vm, UINT64_C(256) << 20);
        guest_wait(&vm, &vm.hello, 60);
        w = guest_frame(GP_BOOT, 0);
        gp_writer_string(w, GP_FIELD_HOSTNAME, "alice-vm");
        gp_writer_string(w, GP_FIELD_ROOT_DEVICE, "serial:root");
        return w;
}

static void put_network(GpWriter *w) {
        const GpPrefix addresses[] = { prefix(GUEST, 128), prefix(GUEST_4, 32) };
        const GpRoute routes[] = {
                route("400::", 7, "fe80::1"),
                route("::", 0, "fe80::1"),
                route("0.0.0.0", 0, "169.254.1.1"),
        };
        const GpAddress dns[] = { address("2620:fe::fe"), address("9.9.9.9") };

        for (size_t i = 0; i < ELEMENTSOF(addresses); i++)
                gp_writer_prefix(w, GP_FIELD_ADDRESS, &addresses[i]);
        for (size_t i = 0; i < ELEMENTSOF(routes); i++)
                gp_writer_route(w, GP_FIELD_ROUTE, &routes[i]);
        for (size_t i = 0; i < ELEMENTSOF(dns); i++)
                gp_writer_address(w, GP_FIELD_DNS_SERVER, &dns[i]);
        gp_writer_u32(w, GP_FIELD_MTU, 1400);
        gp_writer_string(w, GP_FIELD_HOST, GUEST " alice-vm");
}

static void guest_boots_with_a_network(void **state) {
        GpWriter *w = boot_frame();

        put_network(w);
        guest_put(&vm, w);
        guest_wait(&vm, &vm.ready, 60);
        printf("boot with a network: hello %u ms, ready %u ms after exec; %u ms on the guest's own clock\n", vm.hello_ms,
                        vm.ready_ms, vm.boot_ms);
}

static void its_addresses_are_usable_at_once(void **state) {
        assert_string_equal(output_of("ip -6 address show dev " NETWORK_DEVICE " | grep -c tentative; "
                                      "ip address show dev " NETWORK_DEVICE " scope global | awk '/inet/ { print $2 }' | sort; "
                                      "cat /sys/class/net/" NETWORK_DEVICE "/mtu"),
                            "0\n" GUEST_4 "/32\n" GUEST "/128\n1400\n");
}

static void its_files_say_what_boot_said(void **state) {
        assert_string_equal(output_of("grep -v '^#' /etc/resolv.conf; grep alice /etc/hosts"),
                            "nameserver 2620:fe::fe\nnameserver 9.9.9.9\n127.0.1.1 alice-vm\n" GUEST " alice-vm\n");
}

/* As much as makes the two ends segment, merge and sum up for each other. */
static void exchange(const char *text) {
        enum { TOTAL = 1 << 20, BLOCK = 1 << 16 };
        static uint8_t sent[BLOCK], got[BLOCK];
        _cleanup_close_ int fd = connect_to_guest(text, 7);

        for (size_t done = 0; done < TOTAL; done += BLOCK) {
                for (size_t i = 0; i < BLOCK; i++)
                        sent[i] = (uint8_t) ((done + i) * 7 % 251);
                assert_int_equal(send(fd, sent, BLOCK, MSG_NOSIGNAL), BLOCK);
                assert_int_equal(recv(fd, got, BLOCK, MSG_WAITALL), BLOCK);
                assert_memory_equal(got, sent, BLOCK);
        }
}

static void the_host_reaches_the_guest(void **state) {
        (void) guest_exec(&vm, "exec nc -ll -p 7 -e cat");
        exchange(GUEST);
        exchange(GUEST_4);
}

static void expect_visit(const char *here, const char *there) {
        _cleanup_free_ char *command = strprintf("echo hello | nc -w 20 %s 8", here);
        _cleanup_close_ int listener = -EBADF, fd = -EBADF;
        Endpoint e, from, guest;
        char buf[16] = "";
        socklen_t n = endpoint(here, 8, &e);

        listener = stream_socket(&e);
        assert_return_code(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int) { 1 }, sizeof(int)), errno);
        assert_return_code(bind(listener, &e.sa, n), errno);
        assert_return_code(listen(listener, 1), errno);
        (void) guest_exec(&vm, command);
        fd = accept(listener, &from.sa, &n);
        assert_return_code(fd, errno);
        assert_int_equal(recv(fd, buf, 6, MSG_WAITALL), 6);
        assert_string_equal(buf, "hello\n");
        (void) endpoint(there, 0, &guest);
        if (guest.sa.sa_family == AF_INET6)
                assert_memory_equal(&from.in6.sin6_addr, &guest.in6.sin6_addr, 16);
        else
                assert_memory_equal(&from.in.sin_addr, &guest.in.sin_addr, 4);
}

static void the_guest_reaches_the_host_under_its_own_address(void **state) {
        expect_visit(HOST, GUEST);
        expect_visit(HOST_4, GUEST_4);
        assert_string_equal(output_of("ping -c 1 -W 10 " HOST " > /dev/null && echo answer"), "answer\n");
}

static void expect_echo(int fd, const char *text) {
        char buf[64];

        assert_int_equal(recv(fd, buf, strlen(text), MSG_WAITALL), strlen(text));
        assert_memory_equal(buf, text, strlen(text));
}

/* What comes for it meanwhile waits in the TAP, whose fd we have, too. */
static void a_connection_outlives_the_guest_s_sleep(void **state) {
        static const char *const guests[] = { GUEST, GUEST_4 };
        int fds[ELEMENTSOF(guests)];

        for (size_t i = 0; i < ELEMENTSOF(guests); i++) {
                fds[i] = connect_to_guest(guests[i], 7);
                assert_int_equal(send(fds[i], "before", 6, MSG_NOSIGNAL), 6);
                expect_echo(fds[i], "before");
        }
        (void) guest_sleep(&vm);
        for (size_t i = 0; i < ELEMENTSOF(guests); i++)
                assert_int_equal(send(fds[i], "meanwhile", 9, MSG_NOSIGNAL), 9);
        (void) guest_wake(&vm);
        for (size_t i = 0; i < ELEMENTSOF(guests); i++) {
                expect_echo(fds[i], "meanwhile");
                close(fds[i]);
        }
        exchange(GUEST);
        assert_string_equal(output_of("ping -c 1 -W 10 " HOST " > /dev/null && echo answer"), "answer\n");
}

static void shut_down(void **state) {
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        guest_kill(&vm);
}

static void expect_failure(GpWriter *w, uint32_t error, const char *sentence) {
        guest_put(&vm, w);
        guest_wait(&vm, &vm.boot_failed, 60);
        assert_int_equal(vm.error, error);
        assert_non_null(strstr(vm.message, sentence));
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        guest_kill(&vm);
}

static void what_cannot_be_set_up_fails_the_boot(void **state) {
        const GpPrefix multicast = prefix("ff02::1", 128);
        GpWriter *w = boot_frame();

        put_network(w);
        gp_writer_prefix(w, GP_FIELD_ADDRESS, &multicast);
        expect_failure(w, EADDRNOTAVAIL, "the address ff02::1/128");
}

static void a_network_without_a_device_fails_the_boot(void **state) {
        GpWriter *w;

        guest_tap_fd = safe_close(guest_tap_fd);
        w = boot_frame();
        put_network(w);
        expect_failure(w, ENODEV, "no network device");
}

static int stop_guest(void **state) {
        guest_kill(&vm);
        return 0;
}

int main(int argc, char **argv) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(host_has_its_end),
                cmocka_unit_test(guest_boots_with_a_network),
                cmocka_unit_test(its_addresses_are_usable_at_once),
                cmocka_unit_test(its_files_say_what_boot_said),
                cmocka_unit_test(the_host_reaches_the_guest),
                cmocka_unit_test(the_guest_reaches_the_host_under_its_own_address),
                cmocka_unit_test(a_connection_outlives_the_guest_s_sleep),
                cmocka_unit_test(shut_down),
                cmocka_unit_test(what_cannot_be_set_up_fails_the_boot),
                cmocka_unit_test(a_network_without_a_device_fails_the_boot),
        };

        if (!guest_arguments(argc, argv))
                return EXIT_FAILURE;
        guest_tap_fd = open_own_tap(NETWORK_DEVICE);
        if (guest_tap_fd < 0) {
                fprintf(stderr, "guest-network-test: SKIPPED: network namespace and /dev/net/tun: %s\n", strerror(-guest_tap_fd));
                return SKIPPED;
        }
        return cmocka_run_group_tests(tests, NULL, stop_guest);
}
