/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* IPv4 addresses for VMs: every one of a subnet but its first and its last. An address belongs to a VM until it is
 * given back, whether it runs or not. */

#include "network/address.h"

typedef struct Ipv4Pool Ipv4Pool;

#define IPV4_POOL_PREFIX_MIN 8u
#define IPV4_POOL_PREFIX_MAX 30u

int ipv4_pool_new(const Subnet *subnet, Ipv4Pool **ret); /* -EINVAL: not IPv4, or a prefix out of bounds */
Ipv4Pool *ipv4_pool_free(Ipv4Pool *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Ipv4Pool *, ipv4_pool_free);

/* One for the VM (by its id), the same again for a VM that has one. The search goes round, so that an address rests
 * as long as possible before somebody else gets it. -EDQUOT when all are taken, -ENOMEM. */
int ipv4_pool_take(Ipv4Pool *p, const char *vm, Address *ret);
/* The very one a record says. -EADDRNOTAVAIL: not of this pool (any more); -EADDRINUSE: another VM's; -EEXIST: the
 * VM has another one already. */
int ipv4_pool_claim(Ipv4Pool *p, const char *vm, const Address *a);
void ipv4_pool_give_back(Ipv4Pool *p, const char *vm); /* nothing for who has none */
