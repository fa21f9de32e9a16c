/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses and subnets as values, see the header. Pure. */

#include "network/address.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "basic/parse-util.h"
#include "basic/sip-hash.h"

unsigned address_bits(const Address *a) {
        return a->family == AF_INET ? 32 : 128;
}

int address_parse(const char *s, Address *ret) {
        Address a = { .family = strchr(s, ':') ? AF_INET6 : AF_INET };

        if (inet_pton(a.family, s, a.bytes) != 1)
                return -EINVAL;
        *ret = a;
        return 0;
}

static void address_mask(Address *a, unsigned prefix) {
        for (unsigned i = 0; i < sizeof(a->bytes); i++)
                if (i * 8 >= prefix)
                        a->bytes[i] = 0;
                else if (prefix - i * 8 < 8)
                        a->bytes[i] &= (uint8_t) (0xff << (8 - (prefix - i * 8)));
}

int subnet_parse(const char *s, Subnet *ret) {
        const char *slash = strchr(s, '/');
        char text[ADDRESS_STRING_MAX];
        unsigned prefix;
        Subnet subnet;
        int r;

        if (!slash || (size_t) (slash - s) >= sizeof(text))
                return -EINVAL;
        memcpy(text, s, (size_t) (slash - s));
        text[slash - s] = 0;
        r = address_parse(text, &subnet.address);
        if (r < 0)
                return r;
        if (parse_uint(slash + 1, address_bits(&subnet.address), &prefix) < 0)
                return -EINVAL;
        subnet.prefix = prefix;
        address_mask(&subnet.address, prefix);
        *ret = subnet;
        return 0;
}

char *address_format(char buf[static ADDRESS_STRING_MAX], const Address *a) {
        if (!inet_ntop(a->family, a->bytes, buf, ADDRESS_STRING_MAX))
                buf[0] = 0;
        return buf;
}

char *subnet_format(char buf[static SUBNET_STRING_MAX], const Subnet *s) {
        char text[ADDRESS_STRING_MAX];

        (void) snprintf(buf, SUBNET_STRING_MAX, "%s/%u", address_format(text, &s->address),
                        MIN2(s->prefix, 128u));
        return buf;
}

bool address_equal(const Address *a, const Address *b) {
        return memcmp(a, b, sizeof(*a)) == 0;
}

bool subnet_equal(const Subnet *a, const Subnet *b) {
        return a->prefix == b->prefix && address_equal(&a->address, &b->address);
}

bool subnet_contains(const Subnet *s, const Address *a) {
        Address masked = *a;

        if (a->family != s->address.family)
                return false;
        address_mask(&masked, s->prefix);
        return address_equal(&masked, &s->address);
}

void subnet_unique_local(const AddressKey *key, Subnet *ret) {
        static const char what[] = "hero-compute unique local subnet";
        SipKey k;
        uint64_t h;

        memcpy(&k, key->bytes, sizeof(k));
        h = sip_hash(&k, what, strlen(what));
        *ret = (Subnet) { .address.family = AF_INET6, .prefix = 64 };
        ret->address.bytes[0] = 0xfd;
        for (unsigned i = 1; i < 8; i++)
                ret->address.bytes[i] = (uint8_t) (h >> (8 * i));
}
