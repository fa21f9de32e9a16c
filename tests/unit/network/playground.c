/* SPDX-License-Identifier: Apache-2.0 */

/* Packets by hand and the devices they go through. */

#include "playground.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/fd-util.h"

/* For a packet that comes: at once, but the machine may be busy. For one that must not come, what is long
 * enough. */
#define COMES_MSEC 100

/* linux/ipv6.h, which cannot stand beside netinet/in.h */
struct in6_ifreq_ {
        struct in6_addr address;
        uint32_t prefix;
        int index;
};

int playground_sysctl(const char *name, const char *value) {
        _cleanup_close_ int fd = -EBADF;
        char path[128];

        (void) snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        return fd < 0 ? negative_errno() : write_all(fd, value, strlen(value));
}

static int interface_up(const char *name) {
        struct ifreq request = {};
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        (void) snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
        if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
                return negative_errno();
        request.ifr_flags |= IFF_UP;
        return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? negative_errno() : 0;
}

int playground_enter(void) {
        int r;

        if (unshare(CLONE_NEWNET) < 0)
                return negative_errno();
        r = interface_up("lo");
        if (r >= 0)
                r = playground_sysctl("ipv4/ip_forward", "1");
        if (r >= 0)
                r = playground_sysctl("ipv6/conf/all/forwarding", "1");
        return r;
}

int playground_tun(const char *name) {
        struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
        int fd;

        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        assert_true(fd >= 0);
        (void) snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
        assert_return_code(ioctl(fd, TUNSETIFF, &request), errno);
        assert_return_code(interface_up(name), errno);
        return fd;
}

static bool is_ipv6(const char *address) {
        return strchr(address, ':');
}

static void set_address4(struct sockaddr *a, uint32_t value) {
        *(struct sockaddr_in *) a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = value };
}

static int change_route(unsigned long operation, const char *device, const char *address, unsigned prefix) {
        _cleanup_close_ int fd = socket(is_ipv6(address) ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct in6_rtmsg route6 = { .rtmsg_flags = RTF_UP, .rtmsg_metric = 10 };
        struct rtentry route4 = { .rt_flags = RTF_UP, .rt_dev = (char *) device };
        struct in_addr a;

        if (is_ipv6(address)) {
                assert_int_equal(inet_pton(AF_INET6, address, &route6.rtmsg_dst), 1);
                route6.rtmsg_dst_len = (uint16_t) prefix;
                route6.rtmsg_ifindex = (int) if_nametoindex(device);
                return ioctl(fd, operation, &route6);
        }
        assert_int_equal(inet_pton(AF_INET, address, &a), 1);
        set_address4(&route4.rt_dst, a.s_addr);
        set_address4(&route4.rt_genmask, htonl(prefix > 0 ? UINT32_MAX << (32 - prefix) : 0));
        return ioctl(fd, operation, &route4);
}

void playground_route(const char *device, const char *address, unsigned prefix) {
        assert_return_code(change_route(SIOCADDRT, device, address, prefix), errno);
}

void playground_unroute(const char *device, const char *address, unsigned prefix) {
        assert_return_code(change_route(SIOCDELRT, device, address, prefix), errno);
}

void playground_address(const char *device, const char *address, unsigned prefix) {
        _cleanup_close_ int fd = socket(is_ipv6(address) ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct in6_ifreq_ request6 = { .prefix = prefix, .index = (int) if_nametoindex(device) };
        struct ifreq request4 = {};
        struct in_addr a;

        if (is_ipv6(address)) {
                assert_int_equal(inet_pton(AF_INET6, address, &request6.address), 1);
                assert_return_code(ioctl(fd, SIOCSIFADDR, &request6), errno);
                return;
        }
        assert_int_equal(inet_pton(AF_INET, address, &a), 1);
        (void) snprintf(request4.ifr_name, sizeof(request4.ifr_name), "%s", device);
        set_address4(&request4.ifr_addr, a.s_addr);
        assert_return_code(ioctl(fd, SIOCSIFADDR, &request4), errno);
        set_address4(&request4.ifr_netmask, htonl(UINT32_MAX << (32 - prefix)));
        assert_return_code(ioctl(fd, SIOCSIFNETMASK, &request4), errno);
}

/* Packets */

static uint32_t sum_up(const void *p, size_t n, uint32_t sum) {
        const uint8_t *b = p;

        for (size_t i = 0; i < n; i++)
                sum += i % 2 ? b[i] : (uint32_t) b[i] << 8;
        return sum;
}

static uint16_t fold(uint32_t sum) {
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return htons((uint16_t) ~sum);
}

/* The header in front of n bytes at the end of *ret (room for 40 in front); returns the sum of the pseudo
 * header. */
static uint32_t add_header(
                Packet *p, const char *from, const char *to, uint8_t protocol, const void *body, size_t n) {
        uint32_t sum = protocol + (uint32_t) n;

        assert_true(is_ipv6(from) == is_ipv6(to));
        if (is_ipv6(from)) {
                struct ip6_hdr h = { .ip6_flow = htonl(6u << 28),
                        .ip6_plen = htons((uint16_t) n),
                        .ip6_nxt = protocol,
                        .ip6_hlim = protocol == IPPROTO_ICMPV6 ? 255 : 64 };

                assert_int_equal(inet_pton(AF_INET6, from, &h.ip6_src), 1);
                assert_int_equal(inet_pton(AF_INET6, to, &h.ip6_dst), 1);
                sum = sum_up(&h.ip6_src, 32, sum);
                memcpy(p->data, &h, sizeof(h));
                p->size = sizeof(h);
        } else {
                struct iphdr h = { .version = 4,
                        .ihl = 5,
                        .tot_len = htons((uint16_t) (sizeof(h) + n)),
                        .ttl = 64,
                        .protocol = protocol,
                        .id = htons(7) };

                assert_int_equal(inet_pton(AF_INET, from, &h.saddr), 1);
                assert_int_equal(inet_pton(AF_INET, to, &h.daddr), 1);
                h.check = fold(sum_up(&h, sizeof(h), 0));
                sum = sum_up(&h.saddr, 8, sum);
                memcpy(p->data, &h, sizeof(h));
                p->size = sizeof(h);
        }
        memcpy(p->data + p->size, body, n);
        p->size += n;
        return sum_up(body, n, sum);
}

Packet packet_udp(const char *from, const char *to, uint16_t from_port, uint16_t to_port,
                const char *payload) {
        struct {
                struct udphdr h;
                char text[PACKET_MAX - 64];
        } body = { .h.source = htons(from_port), .h.dest = htons(to_port) };
        size_t n = sizeof(body.h) + strlen(payload) + 1;
        uint16_t check;
        Packet p;

        (void) snprintf(body.text, sizeof(body.text), "%s", payload);
        body.h.len = htons((uint16_t) n);
        check = fold(add_header(&p, from, to, IPPROTO_UDP, &body, n));
        memcpy(p.data + p.size - n + offsetof(struct udphdr, check), &check, sizeof(check));
        return p;
}

Packet packet_tcp(const char *from, const char *to, uint16_t from_port, uint16_t to_port, uint8_t flags) {
        struct tcphdr h = { .th_sport = htons(from_port),
                .th_dport = htons(to_port),
                .th_off = 5,
                .th_flags = flags,
                .th_seq = htonl(1000),
                .th_win = htons(1024) };
        uint16_t check;
        Packet p;

        check = fold(add_header(&p, from, to, IPPROTO_TCP, &h, sizeof(h)));
        memcpy(p.data + p.size - sizeof(h) + offsetof(struct tcphdr, th_sum), &check, sizeof(check));
        return p;
}

Packet packet_icmp6(const char *from, const char *to, uint8_t type, const void *body, size_t n) {
        struct {
                struct icmp6_hdr h;
                char rest[64];
        } message = { .h.icmp6_type = type };
        uint16_t check;
        Packet p;

        memcpy(message.rest, body, n);
        n += sizeof(message.h);
        check = fold(add_header(&p, from, to, IPPROTO_ICMPV6, &message, n));
        memcpy(p.data + p.size - n + offsetof(struct icmp6_hdr, icmp6_cksum), &check, sizeof(check));
        return p;
}

void packet_send(int fd, const Packet *p) {
        assert_int_equal(write(fd, p->data, p->size), p->size);
}

static const char *address_of(const Packet *p, bool source) {
        static char text[INET6_ADDRSTRLEN];
        bool six = p->data[0] >> 4 == 6;
        size_t at = six ? 8 : 12;

        if (!source)
                at += six ? 16 : 4;
        return inet_ntop(six ? AF_INET6 : AF_INET, p->data + at, text, sizeof(text));
}

bool packet_receive(int fd, const char *to, Packet *ret) {
        for (;;) {
                struct pollfd pfd = { .fd = fd, .events = POLLIN };
                ssize_t n;

                if (poll(&pfd, 1, COMES_MSEC) <= 0)
                        return false;
                n = read(fd, ret->data, sizeof(ret->data));
                assert_true(n > 0);
                ret->size = (size_t) n;
                if (strcmp(address_of(ret, false), to) == 0)
                        return true;
        }
}

const char *packet_source(const Packet *p) {
        return address_of(p, true);
}

const char *packet_payload(Packet *p) {
        return (const char *) p->data + (p->data[0] >> 4 == 6 ? 40 : 20) + sizeof(struct udphdr);
}

bool packet_passes(int from, const Packet *p, int to, const char *address) {
        Packet received;

        packet_send(from, p);
        return packet_receive(to, address, &received);
}
