/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* SipHash-1-3 (Aumasson, Bernstein): a hash for tables whose keys an attacker chooses. */

#include "basic/macro.h"

typedef struct SipKey {
        uint64_t k0, k1;
} SipKey;

uint64_t sip_hash(const SipKey *key, const void *data, size_t size);
