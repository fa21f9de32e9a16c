/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/mock/mock-frame.h"

#include <netinet/in.h>

#define ETHERNET 14u
#define IPV6 40u

enum { ICMPV6_SOLICITATION = 135, ICMPV6_ADVERTISEMENT = 136 };

static void swap(uint8_t *a, uint8_t *b, size_t n) {
        for (size_t i = 0; i < n; i++) {
                uint8_t c = a[i];

                a[i] = b[i];
                b[i] = c;
        }
}

static bool is_zero(const uint8_t *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (p[i] != 0)
                        return false;
        return true;
}

static uint32_t sum(uint32_t s, const uint8_t *p, size_t n) {
        for (size_t i = 0; i + 1 < n; i += 2)
                s += (uint32_t) (p[i] << 8 | p[i + 1]);
        return s;
}

/* The one's complement sum of an ICMPv6 message (of an even size) and its pseudo header. */
static void write_icmpv6_checksum(uint8_t *ip, size_t size) {
        uint8_t *icmp = ip + IPV6;
        uint32_t s;

        icmp[2] = icmp[3] = 0;
        s = sum(IPPROTO_ICMPV6 + (uint32_t) size, ip + 8, 32);
        s = sum(s, icmp, size);
        while (s >> 16)
                s = (s & 0xffff) + (s >> 16);
        icmp[2] = (uint8_t) (~s >> 8);
        icmp[3] = (uint8_t) ~s;
}

static size_t answer_solicitation(uint8_t *frame, const uint8_t mac[static 6]) {
        enum { SIZE = 32 };
        uint8_t *ip = frame + ETHERNET, *icmp = ip + IPV6;

        /* Somebody who makes sure that nobody has that address: nobody has. */
        if (is_zero(ip + 8, 16))
                return 0;
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, mac, 6);
        ip[4] = 0;
        ip[5] = SIZE;
        ip[7] = 255;
        memcpy(ip + 24, ip + 8, 16);
        memcpy(ip + 8, icmp + 8, 16);
        icmp[0] = ICMPV6_ADVERTISEMENT;
        icmp[1] = 0;
        memcpy(icmp + 4, (uint8_t[4]) { 0x60 /* solicited, override */ }, 4);
        icmp[24] = 2; /* the target's link-layer address */
        icmp[25] = 1;
        memcpy(icmp + 26, mac, 6);
        write_icmpv6_checksum(ip, SIZE);
        return ETHERNET + IPV6 + SIZE;
}

static size_t answer_arp(uint8_t *frame, size_t n, const uint8_t mac[static 6]) {
        static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
        uint8_t *arp = frame + ETHERNET;

        if (n < ETHERNET + 28 || memcmp(arp, request, sizeof(request)) != 0 || is_zero(arp + 14, 4) ||
            memcmp(arp + 14, arp + 24, 4) == 0)
                return 0;
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, mac, 6);
        arp[7] = 2;
        swap(arp + 8, arp + 18, 10);
        memcpy(arp + 8, mac, 6);
        return n;
}

static void swap_ports(uint8_t protocol, uint8_t *p, size_t n) {
        if ((protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && n >= 4)
                swap(p, p + 2, 2);
}

static size_t answer_ipv6(uint8_t *frame, size_t n, const uint8_t mac[static 6]) {
        uint8_t *ip = frame + ETHERNET;

        if (n < ETHERNET + IPV6)
                return 0;
        if (ip[6] == IPPROTO_ICMPV6 && n >= ETHERNET + IPV6 + 24 && ip[IPV6] == ICMPV6_SOLICITATION)
                return answer_solicitation(frame, mac);
        if (frame[0] & 1)
                return 0;
        swap(frame, frame + 6, 6);
        swap(ip + 8, ip + 24, 16);
        swap_ports(ip[6], ip + IPV6, n - ETHERNET - IPV6);
        return n;
}

static size_t answer_ipv4(uint8_t *frame, size_t n) {
        uint8_t *ip = frame + ETHERNET;
        size_t header;

        if (n < ETHERNET + 20 || frame[0] & 1)
                return 0;
        header = (ip[0] & 15) * 4u;
        if (header < 20 || n < ETHERNET + header)
                return 0;
        swap(frame, frame + 6, 6);
        swap(ip + 12, ip + 16, 4);
        /* A later fragment has no ports. */
        if ((ip[6] & 0x1f) == 0 && ip[7] == 0)
                swap_ports(ip[9], ip + header, n - ETHERNET - header);
        return n;
}

size_t mock_frame_answer(uint8_t *frame, size_t n, const uint8_t mac[static 6]) {
        if (n < ETHERNET)
                return 0;
        switch (frame[12] << 8 | frame[13]) {
        case 0x0800:
                return answer_ipv4(frame, n);
        case 0x0806:
                return answer_arp(frame, n, mac);
        case 0x86dd:
                return answer_ipv6(frame, n, mac);
        }
        if (frame[0] & 1)
                return 0;
        swap(frame, frame + 6, 6);
        return n;
}
