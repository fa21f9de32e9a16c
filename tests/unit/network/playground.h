/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A network namespace for one test program, with TUN devices whose other ends are the test's: it writes the
 * packets a VM or the outside would send, and reads those the kernel forwards. Everything goes with the
 * process. */

#include <netinet/in.h>

#include "basic/macro.h"

/* A namespace of its own, forwarding. -EPERM where that may not be. */
int playground_enter(void);

/* Writes to /proc/sys/net/NAME. */
int playground_sysctl(const char *name, const char *value);

/* An IFF_TUN device, up; its fd (non-blocking). It goes when the fd is closed. */
int playground_tun(const char *name);

/* A route to the address (128 or 32 bits of it, or prefix) through the device; or the address on the device.
 * Texts of either family; they fail the test when they cannot be. */
void playground_route(const char *device, const char *address, unsigned prefix);
void playground_unroute(const char *device, const char *address, unsigned prefix);
void playground_address(const char *device, const char *address, unsigned prefix);

/* A packet (IPv4 or IPv6 by the addresses' texts) with right checksums. */
#define PACKET_MAX 2048
typedef struct Packet {
        uint8_t data[PACKET_MAX];
        size_t size;
} Packet;

#define PLAYGROUND_SYN 0x02
#define PLAYGROUND_RST 0x04
#define PLAYGROUND_ACK 0x10

Packet packet_udp(
                const char *from, const char *to, uint16_t from_port, uint16_t to_port, const char *payload);
Packet packet_tcp(const char *from, const char *to, uint16_t from_port, uint16_t to_port, uint8_t flags);
Packet packet_icmp6(const char *from, const char *to, uint8_t type, const void *body, size_t n);

void packet_send(int fd, const Packet *p);

/* The next UDP, TCP or ICMPv6 packet to that address that comes out of the fd within some time; what else
 * the kernel says there is skipped. False when none comes. */
bool packet_receive(int fd, const char *to, Packet *ret);

/* The source as text, the UDP payload. */
const char *packet_source(const Packet *p);
const char *packet_payload(Packet *p);

/* Sends p into from and says whether it comes out of to, addressed to address. */
bool packet_passes(int from, const Packet *p, int to, const char *address);
