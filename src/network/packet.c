/* SPDX-License-Identifier: Apache-2.0 */

/* IPv4, IPv6, TCP, UDP and ICMP headers. Nothing is trusted, nothing is read beyond the packet, nothing is
 * aligned. */

#include "network/packet.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

/* What is left of the packet. */
typedef struct Rest {
        const uint8_t *p;
        size_t n;
} Rest;

static uint16_t be16(const uint8_t *p) {
        return (uint16_t) (p[0] << 8 | p[1]);
}

static int skip(Rest *r, size_t n) {
        if (n > r->n)
                return -EBADMSG;
        r->p += n;
        r->n -= n;
        return 0;
}

struct in6_addr packet_map_address4(struct in_addr a) {
        struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

        memcpy(mapped.s6_addr + 12, &a, sizeof(a));
        return mapped;
}

static struct in6_addr map4(const uint8_t *p) {
        struct in_addr a;

        memcpy(&a, p, sizeof(a));
        return packet_map_address4(a);
}

static int parse_transport(Rest r, PacketInfo *i) {
        switch (i->protocol) {
        case IPPROTO_TCP:
                if (r.n < sizeof(struct tcphdr) || (r.p[12] >> 4) * 4u < sizeof(struct tcphdr))
                        return -EBADMSG;
                i->tcp_flags = r.p[13];
                break;
        case IPPROTO_UDP:
                if (r.n < sizeof(struct udphdr))
                        return -EBADMSG;
                break;
        case IPPROTO_ICMP:
        case IPPROTO_ICMPV6:
                if (r.n < 4)
                        return -EBADMSG;
                i->icmp_type = r.p[0];
                i->has_header = true;
                return 0;
        default:
                return 0;
        }
        i->source_port = be16(r.p);
        i->destination_port = be16(r.p + 2);
        i->has_header = true;
        return 0;
}

static int parse_ip4(Rest r, PacketInfo *i) {
        size_t header, length;
        unsigned offset;

        if (r.n < sizeof(struct iphdr))
                return -EBADMSG;
        header = (r.p[0] & 0x0f) * 4u;
        length = be16(r.p + 2);
        if (header < sizeof(struct iphdr) || length < header || length > r.n)
                return -EBADMSG;
        r.n = length;
        offset = be16(r.p + 6);
        i->family = AF_INET;
        i->protocol = r.p[9];
        i->source = map4(r.p + 12);
        i->destination = map4(r.p + 16);
        i->fragment = offset & (IP_MF | IP_OFFMASK);
        (void) skip(&r, header);
        return offset & IP_OFFMASK ? 0 : parse_transport(r, i);
}

/* One extension header in front of r, of type i->protocol: 1 when it was one and more may follow, 0 when
 * there are no more (also: behind it is the middle of something). */
static int parse_extension(Rest *r, PacketInfo *i, bool *middle) {
        size_t n;
        int k;

        switch (i->protocol) {
        case IPPROTO_HOPOPTS:
        case IPPROTO_ROUTING:
        case IPPROTO_DSTOPTS:
                if (r->n < 2)
                        return -EBADMSG;
                n = (r->p[1] + 1u) * 8;
                break;
        case IPPROTO_AH:
                if (r->n < 2)
                        return -EBADMSG;
                n = (r->p[1] + 2u) * 4;
                break;
        case IPPROTO_FRAGMENT:
                n = sizeof(struct ip6_frag);
                if (r->n < n)
                        return -EBADMSG;
                *middle = be16(r->p + 2) & 0xfff8;
                i->fragment = i->fragment || be16(r->p + 2) & 0xfff9; /* an "atomic" one is whole */
                break;
        default:
                return 0;
        }
        i->protocol = r->p[0];
        k = skip(r, n);
        return k < 0 ? k : !*middle;
}

static int parse_ip6(Rest r, PacketInfo *i) {
        bool middle = false;
        size_t length;
        int k;

        if (r.n < sizeof(struct ip6_hdr))
                return -EBADMSG;
        length = be16(r.p + 4);
        if (length > r.n - sizeof(struct ip6_hdr))
                return -EBADMSG;
        i->family = AF_INET6;
        i->protocol = r.p[6];
        memcpy(&i->source, r.p + 8, sizeof(i->source));
        memcpy(&i->destination, r.p + 24, sizeof(i->destination));
        (void) skip(&r, sizeof(struct ip6_hdr));
        r.n = length;
        for (unsigned count = 0;; count++) {
                k = parse_extension(&r, i, &middle);
                if (k < 0 || (k > 0 && count == PACKET_EXTENSIONS_MAX))
                        return -EBADMSG;
                if (k == 0)
                        break;
        }
        return middle ? 0 : parse_transport(r, i);
}

int packet_parse(const void *data, size_t size, PacketInfo *ret) {
        Rest r = { data, size };
        PacketInfo i = {};
        int k;

        if (size == 0)
                return -EBADMSG;
        switch (r.p[0] >> 4) {
        case 4:
                k = parse_ip4(r, &i);
                break;
        case 6:
                k = parse_ip6(r, &i);
                /* Mapped addresses are ours for IPv4; on the wire they are a lie. */
                if (k >= 0 && (IN6_IS_ADDR_V4MAPPED(&i.source) || IN6_IS_ADDR_V4MAPPED(&i.destination)))
                        k = -EBADMSG;
                break;
        default:
                k = -EBADMSG;
        }
        if (k < 0)
                return k;
        *ret = i;
        return 0;
}
