/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Addresses and subnets as values. Nothing here knows what the kernel has. */

#include <netinet/in.h>

#include "basic/macro.h"

/* Without padding, and bytes that the family does not have are 0: memcmp() compares. */
typedef struct Address {
        int32_t family; /* AF_INET or AF_INET6 */
        uint8_t bytes[16]; /* network order */
} Address;

/* The bits of the address behind the prefix are 0. */
typedef struct Subnet {
        Address address;
        uint32_t prefix;
} Subnet;

#define ADDRESS_STRING_MAX INET6_ADDRSTRLEN
#define SUBNET_STRING_MAX (INET6_ADDRSTRLEN + 4)

/* Strict: the whole text, no zone, no white space. -EINVAL. A subnet's text has a prefix length; bits behind it are
 * masked away, as a node's own address with its prefix names the subnet too. */
int address_parse(const char *s, Address *ret);
int subnet_parse(const char *s, Subnet *ret);

/* RFC 5952. Both return buf. */
char *address_format(char buf[static ADDRESS_STRING_MAX], const Address *a);
char *subnet_format(char buf[static SUBNET_STRING_MAX], const Subnet *s);

bool address_equal(const Address *a, const Address *b) _pure_;
bool subnet_equal(const Subnet *a, const Subnet *b) _pure_;
bool subnet_contains(const Subnet *s, const Address *a) _pure_;
unsigned address_bits(const Address *a) _pure_; /* 32 or 128 */

/* What addresses are made from: stable, and known on this host only, as sd_id128_get_machine_app_specific(). */
typedef struct AddressKey {
        uint8_t bytes[16];
} AddressKey;

/* The /64 of unique local addresses (RFC 4193) that is this host's where no mycelium daemon says another. */
void subnet_unique_local(const AddressKey *key, Subnet *ret);
