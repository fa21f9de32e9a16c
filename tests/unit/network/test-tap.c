/* SPDX-License-Identifier: Apache-2.0 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "network-namespace.h"
#include "network/link.h"
#include "network/route.h"
#include "network/tap.h"

static Netlink *nl;

static size_t count_links(void) {
        _cleanup_free_ LinkCounters *c = NULL;
        size_t n = 0;

        assert_int_equal(link_counters(nl, &c, &n), 0);
        return n;
}

static unsigned read_sysctl(const char *link, const char *family, const char *setting) {
        _cleanup_free_ char *path = strprintf("/proc/sys/net/%s/conf/%s/%s", family, link, setting), *text = NULL;

        assert_int_equal(read_full_file(AT_FDCWD, path, 64, &text, NULL), 0);
        return (unsigned) atoi(text);
}

static char *run(const char *command) {
        FILE *f = popen(command, "r");
        char *text = NULL;

        assert_non_null(f);
        assert_int_equal(read_full_fd(fileno(f), 1 << 20, &text, NULL), 0);
        (void) pclose(f);
        return text;
}

static void assert_says(const char *command, const char *what) {
        _cleanup_free_ char *text = run(command);

        if (!strstr(text, what))
                fail_msg("\"%s\" does not say \"%s\" but: %s", command, what, text);
}

static void name_is_a_prefix_and_eight_digits(void **state) {
        static const char *const bad[] = { "",             "tap-",      "tap-0123456", "tap-012345678", "tap-0123456G",
                                           "tap-0123456F", "tap0",      "tun-01234567", "tap-../../..", "tap-0123456\n" };
        char name[IFNAMSIZ];

        tap_name(name, 0xbeef);
        assert_string_equal(name, "tap-0000beef");
        assert_true(tap_name_is_valid(name));
        tap_name(name, UINT32_MAX);
        assert_string_equal(name, "tap-ffffffff");
        assert_true(tap_name_is_valid(name));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(tap_name_is_valid(bad[i]));
}

static void mac_is_local_and_of_the_name(void **state) {
        static const uint8_t expected[6] = { 0x0a, 0x68, 0xde, 0xad, 0xbe, 0xef };
        uint8_t mac[6];

        tap_mac("tap-deadbeef", mac);
        assert_memory_equal(mac, expected, 6);
        assert_int_equal(mac[0] & 3, 2); /* locally administered, no group */
}

static void tap_is_made_as_promised(void **state) {
        _cleanup_close_ int fd = -EBADF;
        struct ifreq q = {};
        int ifindex, flags;
        Link link;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_int_equal(link_find(nl, "tap-00000001", &link), 0);
        assert_int_equal(link.ifindex, ifindex);
        assert_int_equal(link.mtu, TAP_MTU);
        assert_true(link.up);

        assert_int_equal(ioctl(fd, TUNGETIFF, &q), 0);
        assert_string_equal(q.ifr_name, "tap-00000001");
        assert_true(q.ifr_flags & IFF_TAP);
        assert_true(q.ifr_flags & IFF_VNET_HDR);
        assert_true(q.ifr_flags & IFF_NO_PI);
        assert_false(q.ifr_flags & IFF_PERSIST);
        assert_false(q.ifr_flags & IFF_MULTI_QUEUE);
        flags = fcntl(fd, F_GETFD);
        assert_true(flags & FD_CLOEXEC);
        flags = fcntl(fd, F_GETFL);
        assert_true(flags & O_NONBLOCK);
}

static void tap_has_the_gateways_and_no_other_address(void **state) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *all = NULL;
        int ifindex;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_says("ip -o addr show dev tap-00000001", "inet 169.254.1.1/32 scope link");
        assert_says("ip -o addr show dev tap-00000001", "inet6 fe80::1/64 scope link");
        assert_says("ip link show dev tap-00000001", "0a:68:00:00:00:01");
        all = run("ip -o addr show dev tap-00000001 | wc -l");
        assert_int_equal(atoi(all), 2);
        all = mfree(all);
        all = run("ip -o addr show dev tap-00000001 tentative | wc -l");
        assert_int_equal(atoi(all), 0);
}

static void settings_are_the_taps_alone(void **state) {
        _cleanup_close_ int fd = -EBADF;
        unsigned all = read_sysctl("all", "ipv6", "accept_ra"), defaults = read_sysctl("default", "ipv6", "accept_ra");
        unsigned forwarding = read_sysctl("all", "ipv6", "forwarding");
        int ifindex;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "accept_ra"), 0);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "forwarding"), 1);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "hop_limit"), 64);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "disable_ipv6"), 0);
        assert_int_equal(read_sysctl("tap-00000001", "ipv4", "forwarding"), 1);
        assert_int_equal(read_sysctl("all", "ipv6", "accept_ra"), all);
        assert_int_equal(read_sysctl("default", "ipv6", "accept_ra"), defaults);
        assert_int_equal(read_sysctl("all", "ipv6", "forwarding"), forwarding);
}

static void write_default(const char *family, const char *setting, unsigned value) {
        assert_int_equal(link_set_sysctl("default", family, setting, value), 0);
}

static void hosts_defaults_do_not_matter(void **state) {
        _cleanup_close_ int fd = -EBADF;
        int ifindex;

        write_default("ipv6", "disable_ipv6", 1);
        write_default("ipv6", "accept_ra", 2);
        write_default("ipv6", "forwarding", 0);
        write_default("ipv6", "hop_limit", 7);
        write_default("ipv4", "forwarding", 0);
        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "disable_ipv6"), 0);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "accept_ra"), 0);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "forwarding"), 1);
        assert_int_equal(read_sysctl("tap-00000001", "ipv6", "hop_limit"), 64);
        assert_int_equal(read_sysctl("tap-00000001", "ipv4", "forwarding"), 1);
        assert_says("ip -o addr show dev tap-00000001", "inet6 fe80::1/64 scope link");
        write_default("ipv6", "disable_ipv6", 0);
        write_default("ipv6", "accept_ra", 1);
        write_default("ipv6", "hop_limit", 64);
}

static bool is_wanted(const uint8_t *e, size_t n, uint16_t type, int icmp_type) {
        if (n < 14 + 28 || e[12] != type >> 8 || e[13] != (type & 0xff))
                return false;
        return icmp_type < 0 || (n > 14 + 40 && e[14 + 6] == IPPROTO_ICMPV6 && e[14 + 40] == icmp_type);
}

/* What a VM would read of Ethernet's type (of IPv6: with this ICMPv6 type), within tries times 10 ms; else 0. */
static size_t receive(int fd, uint16_t type, int icmp_type, unsigned tries, uint8_t frame[static 2048]) {
        uint8_t buf[10 + 2048];

        for (unsigned i = 0; i < tries; i++) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                ssize_t n;

                (void) poll(&p, 1, 10);
                n = read(fd, buf, sizeof(buf));
                if (n <= 10 || !is_wanted(buf + 10, (size_t) n - 10, type, icmp_type))
                        continue;
                memcpy(frame, buf + 10, (size_t) n - 10);
                return (size_t) n - 10;
        }
        return 0;
}

static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 9 };

static void gateway_answers_a_guests_arp(void **state) {
        uint8_t frame[10 + 14 + 28] = {}, *e = frame + 10, *arp = e + 14, answer[2048], mac[6];
        static const uint8_t fixed[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
        static const uint8_t guest[4] = { 10, 9, 8, 7 }, gateway[4] = { 169, 254, 1, 1 };
        _cleanup_close_ int fd = -EBADF;
        int ifindex;

        assert_int_equal(tap_create(nl, "tap-00000009", &fd, &ifindex), 0);
        memset(e, 0xff, 6);
        memcpy(e + 6, guest_mac, 6);
        e[12] = 8;
        e[13] = 6;
        memcpy(arp, fixed, 8);
        memcpy(arp + 8, guest_mac, 6);
        memcpy(arp + 14, guest, 4);
        memcpy(arp + 24, gateway, 4);
        assert_int_equal(write(fd, frame, sizeof(frame)), sizeof(frame));
        assert_true(receive(fd, 0x0806, -1, 500, answer) >= 14 + 28);
        tap_mac("tap-00000009", mac);
        assert_int_equal(answer[14 + 7], 2); /* a reply */
        assert_memory_equal(answer + 14 + 8, mac, 6);
        assert_memory_equal(answer + 14 + 14, gateway, 4);
}

static uint16_t icmp6_checksum(const uint8_t *ip, size_t n) {
        uint32_t sum = IPPROTO_ICMPV6 + (uint32_t) n;

        for (size_t i = 8; i < 40 + n; i += 2)
                sum += (uint32_t) ip[i] << 8 | ip[i + 1];
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t) ~sum;
}

static void gateway_answers_a_guests_solicitation_as_a_router(void **state) {
        uint8_t frame[10 + 14 + 40 + 32] = {}, *e = frame + 10, *ip = e + 14, *icmp = ip + 40, answer[2048], mac[6];
        static const uint8_t multicast[6] = { 0x33, 0x33, 0xff, 0, 0, 1 };
        _cleanup_close_ int fd = -EBADF;
        uint16_t sum;
        size_t n = 0;
        int ifindex;

        assert_int_equal(tap_create(nl, "tap-00000009", &fd, &ifindex), 0);
        memcpy(e, multicast, 6);
        memcpy(e + 6, guest_mac, 6);
        e[12] = 0x86;
        e[13] = 0xdd;
        ip[0] = 0x60;
        ip[5] = 32;
        ip[6] = IPPROTO_ICMPV6;
        ip[7] = 255;
        assert_int_equal(inet_pton(AF_INET6, "fe80::9", ip + 8), 1);
        assert_int_equal(inet_pton(AF_INET6, "ff02::1:ff00:1", ip + 24), 1);
        icmp[0] = 135; /* neighbour solicitation */
        assert_int_equal(inet_pton(AF_INET6, TAP_GATEWAY_IPV6, icmp + 8), 1);
        icmp[24] = 1;
        icmp[25] = 1;
        memcpy(icmp + 26, guest_mac, 6);
        sum = icmp6_checksum(ip, 32);
        icmp[2] = (uint8_t) (sum >> 8);
        icmp[3] = (uint8_t) sum;
        /* As a guest does it: until there is an answer. The first may be too early, see tap_create(). */
        for (unsigned i = 0; i < 50 && n == 0; i++) {
                assert_int_equal(write(fd, frame, sizeof(frame)), sizeof(frame));
                n = receive(fd, 0x86dd, 136, 10, answer);
        }
        assert_true(n >= 14 + 40 + 32);
        tap_mac("tap-00000009", mac);
        assert_memory_equal(answer + 6, mac, 6);
        assert_true(answer[14 + 40 + 4] & 0x80); /* a router */
        assert_memory_equal(answer + 14 + 40 + 8, icmp + 8, 16);
        assert_memory_equal(answer + 14 + 40 + 26, mac, 6);
}

static uint16_t ip_checksum(const uint8_t *ip) {
        uint32_t sum = 0;

        for (size_t i = 0; i < 20; i += 2)
                sum += (uint32_t) ip[i] << 8 | ip[i + 1];
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t) ~sum;
}

/* The host's own switch for all links stays off. */
static void packet_goes_from_one_vm_to_another(void **state) {
        uint8_t frame[10 + 14 + 20 + 8] = {}, *e = frame + 10, *ip = e + 14, got[2048], reply[10 + 14 + 28] = {};
        static const uint8_t header[12] = { 0x45, 0, 0, 28, 0, 0, 0, 0, 64, IPPROTO_UDP };
        static const uint8_t a[4] = { 10, 9, 0, 1 }, b[4] = { 10, 9, 0, 2 };
        _cleanup_close_ int fd_a = -EBADF, fd_b = -EBADF;
        int index_a, index_b;
        Address address;
        uint16_t sum;

        assert_int_equal(tap_create(nl, "tap-0000000a", &fd_a, &index_a), 0);
        assert_int_equal(tap_create(nl, "tap-0000000b", &fd_b, &index_b), 0);
        assert_int_equal(address_parse("10.9.0.1", &address), 0);
        assert_int_equal(route_set(nl, &address, index_a), 0);
        assert_int_equal(address_parse("10.9.0.2", &address), 0);
        assert_int_equal(route_set(nl, &address, index_b), 0);
        assert_int_equal(read_sysctl("all", "ipv4", "forwarding"), 0);

        tap_mac("tap-0000000a", e);
        memcpy(e + 6, guest_mac, 6);
        e[12] = 8;
        memcpy(ip, header, sizeof(header));
        memcpy(ip + 12, a, 4);
        memcpy(ip + 16, b, 4);
        sum = ip_checksum(ip);
        ip[10] = (uint8_t) (sum >> 8);
        ip[11] = (uint8_t) sum;
        ip[20 + 3] = 9;
        ip[20 + 5] = 8;
        assert_int_equal(write(fd_a, frame, sizeof(frame)), sizeof(frame));

        /* The host asks for b, from the gateway's address. */
        assert_true(receive(fd_b, 0x0806, -1, 500, got) >= 14 + 28);
        assert_memory_equal(got + 14 + 24, b, 4);
        assert_int_equal(got[14 + 14], 169);
        memcpy(reply + 10, got + 6, 6);
        memcpy(reply + 10 + 6, guest_mac, 6);
        memcpy(reply + 10 + 12, got + 12, 2 + 6);
        reply[10 + 14 + 7] = 2;
        memcpy(reply + 10 + 14 + 8, guest_mac, 6);
        memcpy(reply + 10 + 14 + 14, b, 4);
        memcpy(reply + 10 + 14 + 18, got + 14 + 8, 10);
        assert_int_equal(write(fd_b, reply, sizeof(reply)), sizeof(reply));

        assert_true(receive(fd_b, 0x0800, -1, 500, got) >= 14 + 28);
        assert_memory_equal(got, guest_mac, 6);
        assert_memory_equal(got + 14 + 12, ip + 12, 8);
        assert_int_equal(got[14 + 8], 63);
}

static void closing_it_removes_it(void **state) {
        size_t before = count_links();
        int fd, ifindex;
        Link link;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_int_equal(count_links(), before + 1);
        safe_close(fd);
        assert_int_equal(link_find(nl, "tap-00000001", &link), -ENODEV);
        assert_int_equal(count_links(), before);
}

static void link_that_is_there_is_never_taken(void **state) {
        _cleanup_close_ int fd = -EBADF, other = -EBADF;
        int ifindex, unused = 0;
        Link link;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_int_equal(tap_create(nl, "tap-00000001", &other, &unused), -EEXIST);
        assert_int_equal(other, -EBADF);
        assert_int_equal(link_find(nl, "tap-00000001", &link), 0);
        assert_int_equal(link.ifindex, ifindex);
        assert_true(link.up);

        assert_int_equal(system("ip tuntap add dev tap-00000002 mode tap"), 0); /* persistent */
        assert_int_equal(tap_create(nl, "tap-00000002", &other, &unused), -EEXIST);
        assert_int_equal(link_find(nl, "tap-00000002", &link), 0);
        assert_int_equal(tap_remove(nl, "tap-00000002"), 0);
        assert_int_equal(link_find(nl, "tap-00000002", &link), -ENODEV);
}

static void names_of_others_are_refused(void **state) {
        int fd = -EBADF, ifindex = 0;

        assert_int_equal(tap_create(nl, "lo", &fd, &ifindex), -EINVAL);
        assert_int_equal(tap_find(nl, "lo", &ifindex), -EINVAL);
        assert_int_equal(tap_remove(nl, "lo"), -EINVAL);
        assert_int_equal(fd, -EBADF);
}

static void only_taps_are_ours(void **state) {
        _cleanup_free_ Tap *taps = NULL;
        _cleanup_close_ int fd = -EBADF;
        int ifindex;
        size_t n;

        assert_int_equal(system("ip link add tap-0000000a type veth peer name tap-0000000b"), 0);
        assert_int_equal(system("ip tuntap add dev tap-0000000c mode tun"), 0);
        assert_int_equal(system("ip tuntap add dev tap0 mode tap"), 0);
        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);

        assert_int_equal(tap_find(nl, "tap-0000000a", &ifindex), -ENODEV);
        assert_int_equal(tap_find(nl, "tap-0000000c", &ifindex), -ENODEV);
        assert_int_equal(tap_remove(nl, "tap-0000000a"), 0);
        assert_int_equal(tap_list(nl, &taps, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(taps[0].name, "tap-00000001");
        assert_int_equal(tap_find(nl, "tap-00000001", &ifindex), 0);
        assert_int_equal(taps[0].ifindex, ifindex);

        assert_int_equal(system("ip link show dev tap-0000000a >/dev/null"), 0);
        assert_int_equal(system("ip link del tap-0000000a && ip link del tap-0000000c && ip link del tap0"), 0);
}

static void removed_while_open_it_is_gone_at_once(void **state) {
        _cleanup_close_ int fd = -EBADF;
        int ifindex;
        char c;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        assert_int_equal(tap_remove(nl, "tap-00000001"), 0);
        assert_int_equal(tap_find(nl, "tap-00000001", &ifindex), -ENODEV);
        assert_int_equal(tap_remove(nl, "tap-00000001"), 0);
        assert_int_equal(read(fd, &c, 1), -1);
        assert_int_equal(errno, EBADFD);
}

/* Made to fail in its middle: by /proc/sys of no permission there is none as root, so by a namespace without it. */
static void failure_leaves_no_link(void **state) {
        size_t before = count_links();
        int fd = -EBADF, ifindex = 0;

        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(system("mount --make-rprivate / && mount -t tmpfs none /proc"), 0);
        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), -ENOENT);
        assert_int_equal(system("umount /proc"), 0);
        assert_int_equal(fd, -EBADF);
        assert_int_equal(count_links(), before);
}

static void a_hundred_are_listed_and_counted(void **state) {
        int fds[100], ifindex[100];
        _cleanup_free_ LinkCounters *c = NULL;
        _cleanup_free_ Tap *taps = NULL;
        size_t n, n_taps;

        for (unsigned i = 0; i < ELEMENTSOF(fds); i++) {
                char name[IFNAMSIZ];

                tap_name(name, i);
                assert_int_equal(tap_create(nl, name, &fds[i], &ifindex[i]), 0);
        }
        assert_int_equal(tap_list(nl, &taps, &n_taps), 0);
        assert_int_equal(n_taps, ELEMENTSOF(fds));
        assert_int_equal(link_counters(nl, &c, &n), 0);
        for (unsigned i = 0; i < ELEMENTSOF(fds); i++) {
                assert_non_null(link_counters_find(c, n, ifindex[i]));
                safe_close(fds[i]);
        }
        assert_null(link_counters_find(c, n, 1 << 20));
}

static void what_a_vm_sends_is_counted_as_received(void **state) {
        uint8_t frame[10 + 60] = {}; /* virtio-net header, then Ethernet of a type that nobody knows */
        _cleanup_free_ LinkCounters *c = NULL;
        _cleanup_close_ int fd = -EBADF;
        const LinkCounters *mine;
        int ifindex;
        size_t n;

        assert_int_equal(tap_create(nl, "tap-00000001", &fd, &ifindex), 0);
        memset(frame + 10, 0xff, 6);
        frame[10 + 6] = 2;
        frame[10 + 12] = 0x88;
        frame[10 + 13] = 0xb5;
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(write(fd, frame, sizeof(frame)), sizeof(frame));
        assert_int_equal(link_counters(nl, &c, &n), 0);
        mine = link_counters_find(c, n, ifindex);
        assert_non_null(mine);
        assert_int_equal(mine->received_packets, 3);
        assert_true(mine->received_bytes >= 3 * 46);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(name_is_a_prefix_and_eight_digits),
                cmocka_unit_test(mac_is_local_and_of_the_name),
                cmocka_unit_test(tap_is_made_as_promised),
                cmocka_unit_test(tap_has_the_gateways_and_no_other_address),
                cmocka_unit_test(settings_are_the_taps_alone),
                cmocka_unit_test(hosts_defaults_do_not_matter),
                cmocka_unit_test(gateway_answers_a_guests_arp),
                cmocka_unit_test(gateway_answers_a_guests_solicitation_as_a_router),
                cmocka_unit_test(packet_goes_from_one_vm_to_another),
                cmocka_unit_test(closing_it_removes_it),
                cmocka_unit_test(link_that_is_there_is_never_taken),
                cmocka_unit_test(names_of_others_are_refused),
                cmocka_unit_test(only_taps_are_ours),
                cmocka_unit_test(removed_while_open_it_is_gone_at_once),
                cmocka_unit_test(a_hundred_are_listed_and_counted),
                cmocka_unit_test(what_a_vm_sends_is_counted_as_received),
                cmocka_unit_test(failure_leaves_no_link),
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
