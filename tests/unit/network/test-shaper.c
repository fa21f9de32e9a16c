/* SPDX-License-Identifier: Apache-2.0 */

/* The limit, on a veth whose other end is in a second network namespace: what the "VM" there gets. The margins are wide, as the
 * machine may be busy: a transfer is never faster than the limit allows, and far from as fast as without one. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "network-namespace.h"
#include "network/link.h"
#include "network/shaper.h"
#include "network/tap.h"

#define PORT 4711
#define MIB (UINT64_C(1) << 20)
#define NONE UINT64_MAX

static Netlink *nl;
static int host_ns = -EBADF, vm_ns = -EBADF, ifindex;

static void enter(int ns) {
        assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static char *run(const char *command) {
        FILE *f = popen(command, "r");
        char *text = NULL;

        assert_non_null(f);
        assert_int_equal(read_full_fd(fileno(f), 1 << 20, &text, NULL), 0);
        (void) pclose(f);
        return text;
}

static bool says(const char *command, const char *what) {
        _cleanup_free_ char *text = run(command);

        return strstr(text, what);
}

/* A connected pair of TCP sockets: the host's and the VM's. */
static void connect_both(int *ret_host, int *ret_vm) {
        const struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = inet_addr("10.0.0.1") };
        _cleanup_close_ int listener = -EBADF;
        int one = 1;

        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
        assert_int_equal(bind(listener, (const struct sockaddr *) &a, sizeof(a)), 0);
        assert_int_equal(listen(listener, 1), 0);
        enter(vm_ns);
        *ret_vm = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        enter(host_ns);
        assert_int_equal(connect(*ret_vm, (const struct sockaddr *) &a, sizeof(a)), 0);
        *ret_host = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(*ret_host >= 0);
        assert_int_equal(fd_nonblock(*ret_host, true), 0);
        assert_int_equal(fd_nonblock(*ret_vm, true), 0);
}

/* Bytes a second: of so many, or of what passes in so long. */
static uint64_t measure(int from, int to, uint64_t most, uint64_t usec) {
        uint64_t begin = now_usec(CLOCK_MONOTONIC), got = 0, now = begin;
        char buffer[65536] = "";

        while (got < most && now - begin < usec) {
                struct pollfd p[] = { { .fd = from, .events = POLLOUT }, { .fd = to, .events = POLLIN } };
                ssize_t n;

                assert_true(poll(p, 2, 100) >= 0);
                if (p[0].revents & POLLOUT)
                        (void) send(from, buffer, sizeof(buffer), MSG_NOSIGNAL);
                n = p[1].revents & POLLIN ? recv(to, buffer, sizeof(buffer), 0) : 0;
                if (n > 0)
                        got += (uint64_t) n;
                now = now_usec(CLOCK_MONOTONIC);
        }
        return got * USEC_PER_SEC / MAX2(now - begin, UINT64_C(1));
}

static uint64_t measure_receiving(uint64_t most, uint64_t usec) {
        _cleanup_close_ int host = -EBADF, vm = -EBADF;

        connect_both(&host, &vm);
        return measure(host, vm, most, usec);
}

static void assert_between(const char *what, uint64_t v, uint64_t low, uint64_t high) {
        if (v < low || v > high)
                fail_msg("%s: %" PRIu64 " bytes/s, not between %" PRIu64 " and %" PRIu64, what, v, low, high);
}

static int set(uint64_t rate) {
        return shaper_set(nl, ifindex, rate);
}

static void what_the_vm_receives_is_limited(void **state) {
        assert_int_equal(set(2 * MIB), 0);
        assert_between("limited to 2 MiB/s", measure_receiving(NONE, 2 * USEC_PER_SEC), MIB / 2, 3 * MIB);
        assert_true(says("tc qdisc show dev shape0", "qdisc tbf 1: root"));
        assert_int_equal(set(NONE), 0);
        assert_false(says("tc qdisc show dev shape0", "tbf"));
        assert_between("without a limit", measure_receiving(64 * MIB, 5 * USEC_PER_SEC), 8 * MIB, NONE);
}

static void what_the_vm_sends_has_no_part_in_it(void **state) {
        _cleanup_close_ int host = -EBADF, vm = -EBADF;

        assert_int_equal(set(2 * MIB), 0);
        connect_both(&host, &vm);
        assert_between("sending", measure(vm, host, 64 * MIB, 5 * USEC_PER_SEC), 8 * MIB, NONE);
        assert_int_equal(set(NONE), 0);
}

static void a_limit_changes_while_traffic_goes_on(void **state) {
        _cleanup_close_ int host = -EBADF, vm = -EBADF;

        assert_int_equal(set(MIB), 0);
        connect_both(&host, &vm);
        assert_between("limited to 1 MiB/s", measure(host, vm, NONE, USEC_PER_SEC), MIB / 4, 2 * MIB);
        assert_int_equal(set(8 * MIB), 0);
        assert_between("raised to 8 MiB/s", measure(host, vm, NONE, 2 * USEC_PER_SEC), 3 * MIB, 12 * MIB);
        assert_int_equal(set(NONE), 0);
        assert_between("without a limit", measure(host, vm, 64 * MIB, 5 * USEC_PER_SEC), 12 * MIB, NONE);
}

/* Of "Sent 123 bytes 4 pkt": they begin again with a qdisc that is made. */
static uint64_t sent_bytes(const char *command) {
        _cleanup_free_ char *text = run(command);
        const char *sent = strstr(text, "Sent ");
        uint64_t n = 0;

        if (!sent || sscanf(sent, "Sent %" SCNu64 " bytes", &n) != 1)
                fail_msg("\"%s\" counts nothing: %s", command, text);
        return n;
}

static void the_same_again_changes_nothing(void **state) {
        static const char command[] = "tc -s qdisc show dev shape0";

        assert_int_equal(set(4 * MIB), 0);
        (void) measure_receiving(MIB, USEC_PER_SEC);
        assert_true(sent_bytes(command) > MIB / 4);
        assert_int_equal(set(4 * MIB), 0);
        assert_true(sent_bytes(command) > MIB / 4);
        assert_int_equal(set(NONE), 0);
        assert_int_equal(set(NONE), 0);
}

static const uint64_t rates[] = { SHAPER_RATE_MIN, 125000000, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(12500000000), NONE - 1 };

static void every_rate_can_be_set(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rates); i++)
                assert_int_equal(set(rates[i]), 0);
        assert_int_equal(set(UINT64_C(12500000000)), 0);
        assert_true(says("tc qdisc show dev shape0", "rate 100Gbit"));
        assert_int_equal(set(125000), 0);
        assert_true(says("tc qdisc show dev shape0", "rate 1Mbit"));
        assert_int_equal(set(NONE), 0);
}

/* A TAP goes with its limits. */
static void a_tap_has_limits_as_any_link(void **state) {
        _cleanup_close_ int fd = -EBADF;
        int tap, r;

        r = tap_create(nl, "tap-00005a9e", &fd, &tap);
        if (r == -ENOENT || r == -ENODEV || r == -EPERM || r == -EACCES) {
                fprintf(stderr, "No TAP here: %s\n", strerror(-r));
                skip();
        }
        assert_int_equal(r, 0);
        assert_int_equal(shaper_set(nl, tap, MIB), 0);
        assert_int_equal(shaper_set(nl, tap, MIB), 0);
        assert_true(says("tc qdisc show dev tap-00005a9e", "qdisc tbf 1: root"));
        assert_int_equal(shaper_set(nl, tap, NONE), 0);
        assert_false(says("tc qdisc show dev tap-00005a9e", "tbf"));
        assert_int_equal(shaper_set(nl, tap, 2 * MIB), 0);
        fd = safe_close(fd);
        assert_int_equal(shaper_set(nl, tap, MIB), -ENODEV);
}

static void errors_are_told_apart(void **state) {
        assert_int_equal(shaper_set(nl, ifindex, 0), -EINVAL);
        assert_int_equal(shaper_set(nl, ifindex, SHAPER_RATE_MIN - 1), -EINVAL);
        assert_int_equal(shaper_set(nl, 4711, MIB), -ENODEV);
}

static int open_namespace(void) {
        return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int make_ends(void **state) {
        char move[128];
        Link link;

        host_ns = open_namespace();
        assert_int_equal(unshare(CLONE_NEWNET), 0);
        vm_ns = open_namespace();
        enter(host_ns);
        (void) snprintf(move, sizeof(move), "ip link set shape1 netns /proc/%d/fd/%d", getpid(), vm_ns);
        assert_int_equal(system("ip link add shape0 type veth peer name shape1"), 0);
        assert_int_equal(system(move), 0);
        assert_int_equal(system("ip addr add 10.0.0.1/24 dev shape0 && ip link set shape0 up"), 0);
        enter(vm_ns);
        assert_int_equal(system("ip addr add 10.0.0.2/24 dev shape1 && ip link set shape1 up"), 0);
        enter(host_ns);
        assert_int_equal(netlink_open(&nl), 0);
        assert_int_equal(link_find(nl, "shape0", &link), 0);
        ifindex = link.ifindex;
        return 0;
}

static int close_ends(void **state) {
        nl = netlink_close(nl);
        host_ns = safe_close(host_ns);
        vm_ns = safe_close(vm_ns);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(errors_are_told_apart),
                cmocka_unit_test(a_tap_has_limits_as_any_link),
                cmocka_unit_test(what_the_vm_receives_is_limited),
                cmocka_unit_test(what_the_vm_sends_has_no_part_in_it),
                cmocka_unit_test(a_limit_changes_while_traffic_goes_on),
                cmocka_unit_test(the_same_again_changes_nothing),
                cmocka_unit_test(every_rate_can_be_set),
        };
        int r = enter_network_namespace();

        return r != 0 ? r : cmocka_run_group_tests(tests, make_ends, close_ends);
}
