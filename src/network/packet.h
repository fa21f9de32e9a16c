/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The headers of one IP packet, as somebody hostile may have written them: a pure function. */

#include <netinet/in.h>

#include "basic/macro.h"

#define PACKET_TCP_FIN 0x01
#define PACKET_TCP_SYN 0x02
#define PACKET_TCP_RST 0x04
#define PACKET_TCP_ACK 0x10

typedef struct PacketInfo {
        int family; /* AF_INET, AF_INET6 */
        /* IPv4 addresses are mapped (::ffff:a.b.c.d): one kind of key for both. */
        struct in6_addr source, destination;
        uint8_t protocol; /* IPPROTO_TCP, …; of IPv6, what is behind the extension headers */
        bool fragment;    /* one of several; only the first has a header of its protocol */
        bool has_header;  /* the following are there, for TCP, UDP, ICMP and ICMPv6 */
        uint16_t source_port, destination_port;
        uint8_t tcp_flags;
        uint8_t icmp_type;
} PacketInfo;

/* 0, or -EBADMSG for what is no IP packet or is cut off within the headers that are looked at (of the
 * protocols above, and IPv6 extension headers, PACKET_EXTENSIONS_MAX of them). Bytes behind the packet's own
 * length do not count. */
#define PACKET_EXTENSIONS_MAX 8
int packet_parse(const void *data, size_t size, PacketInfo *ret);

/* The mapped form of an address, as in PacketInfo. */
struct in6_addr packet_map_address4(struct in_addr a);
