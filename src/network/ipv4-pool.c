/* SPDX-License-Identifier: Apache-2.0 */

/* IPv4 addresses for VMs, see the header. What is taken is in two tables; what is free is nowhere, so a large pool
 * costs no more than a small one. */

#include "network/ipv4-pool.h"

#include <endian.h>
#include <uthash.h>

#include "basic/alloc-util.h"

typedef struct Lease {
        char *vm;
        uint32_t number; /* within the subnet */
        UT_hash_handle by_vm, by_number;
} Lease;

struct Ipv4Pool {
        Subnet subnet;
        uint32_t base, size; /* number 0 and size - 1 are not given out */
        uint32_t next;
        Lease *by_vm, *by_number;
};

static uint32_t to_number(const Address *a) {
        uint32_t n;

        memcpy(&n, a->bytes, sizeof(n));
        return be32toh(n);
}

int ipv4_pool_new(const Subnet *subnet, Ipv4Pool **ret) {
        Ipv4Pool *p;

        if (subnet->address.family != AF_INET || subnet->prefix < IPV4_POOL_PREFIX_MIN ||
            subnet->prefix > IPV4_POOL_PREFIX_MAX)
                return -EINVAL;
        p = new0(Ipv4Pool, 1);
        if (!p)
                return -ENOMEM;
        p->subnet = *subnet;
        p->base = to_number(&subnet->address);
        p->size = UINT32_C(1) << (32 - subnet->prefix);
        p->next = 1;
        *ret = p;
        return 0;
}

static Lease *lease_free(Lease *l) {
        free(l->vm);
        free(l);
        return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Lease *, lease_free);

static void lease_forget(Ipv4Pool *p, Lease *l) {
        HASH_DELETE(by_vm, p->by_vm, l);
        HASH_DELETE(by_number, p->by_number, l);
        lease_free(l);
}

Ipv4Pool *ipv4_pool_free(Ipv4Pool *p) {
        if (!p)
                return NULL;
        while (p->by_vm)
                lease_forget(p, p->by_vm);
        free(p);
        return NULL;
}

static Lease *find_vm(Ipv4Pool *p, const char *vm) {
        Lease *l;

        HASH_FIND(by_vm, p->by_vm, vm, strlen(vm), l);
        return l;
}

static Lease *find_number(Ipv4Pool *p, uint32_t number) {
        Lease *l;

        HASH_FIND(by_number, p->by_number, &number, sizeof(number), l);
        return l;
}

static int lease_add(Ipv4Pool *p, const char *vm, uint32_t number) {
        _cleanup_(lease_freep) Lease *l = new0(Lease, 1);

        if (!l)
                return -ENOMEM;
        l->vm = strdup(vm);
        if (!l->vm)
                return -ENOMEM;
        l->number = number;
        HASH_ADD_KEYPTR(by_vm, p->by_vm, l->vm, strlen(l->vm), l);
        HASH_ADD(by_number, p->by_number, number, sizeof(l->number), l);
        /* The search goes on behind it: who comes next does not get what was just given back. */
        p->next = number + 1 < p->size - 1 ? number + 1 : 1;
        TAKE_PTR(l);
        return 0;
}

static void to_address(const Ipv4Pool *p, uint32_t number, Address *ret) {
        uint32_t n = htobe32(p->base + number);

        *ret = (Address) { .family = AF_INET };
        memcpy(ret->bytes, &n, sizeof(n));
}

int ipv4_pool_take(Ipv4Pool *p, const char *vm, Address *ret) {
        Lease *l = find_vm(p, vm);
        uint32_t number = p->next;
        int r;

        if (l) {
                to_address(p, l->number, ret);
                return 0;
        }
        if (HASH_CNT(by_vm, p->by_vm) >= p->size - 2)
                return -EDQUOT;
        while (find_number(p, number))
                number = number + 1 < p->size - 1 ? number + 1 : 1;
        r = lease_add(p, vm, number);
        if (r < 0)
                return r;
        to_address(p, number, ret);
        return 0;
}

int ipv4_pool_claim(Ipv4Pool *p, const char *vm, const Address *a) {
        Lease *by_vm = find_vm(p, vm), *by_number;
        uint32_t number;

        if (!subnet_contains(&p->subnet, a))
                return -EADDRNOTAVAIL;
        number = to_number(a) - p->base;
        if (number == 0 || number == p->size - 1)
                return -EADDRNOTAVAIL;
        by_number = find_number(p, number);
        if (by_number)
                return by_number == by_vm ? 0 : -EADDRINUSE;
        if (by_vm)
                return -EEXIST;
        return lease_add(p, vm, number);
}

void ipv4_pool_give_back(Ipv4Pool *p, const char *vm) {
        Lease *l = find_vm(p, vm);

        if (l)
                lease_forget(p, l);
}
