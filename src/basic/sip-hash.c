/* SPDX-License-Identifier: Apache-2.0 */

/* SipHash-1-3, see the header. Pure. */

#include "basic/sip-hash.h"

static inline uint64_t rotate(uint64_t x, unsigned n) {
        return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[static 4]) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
}

static void take(uint64_t v[static 4], uint64_t word) {
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
}

uint64_t sip_hash(const SipKey *key, const void *data, size_t size) {
        uint64_t v[4] = {
                key->k0 ^ UINT64_C(0x736f6d6570736575),
                key->k1 ^ UINT64_C(0x646f72616e646f6d),
                key->k0 ^ UINT64_C(0x6c7967656e657261),
                key->k1 ^ UINT64_C(0x7465646279746573),
        };
        const uint8_t *p = data;
        uint64_t word;
        size_t n = size;

        for (; n >= 8; n -= 8, p += 8) {
                memcpy(&word, p, 8);
                take(v, word);
        }
        word = (uint64_t) size << 56;
        for (size_t i = 0; i < n; i++)
                word |= (uint64_t) p[i] << 8 * i;
        take(v, word);
        v[2] ^= 0xff;
        for (unsigned i = 0; i < 3; i++)
                sip_round(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}
