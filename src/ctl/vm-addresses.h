/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The addresses of many VMs: ListVMs() does not say them. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct VMAddresses VMAddresses;

typedef struct VMAddress {
        VMAddresses *all;
        char *path;
        char *address; /* NULL: it has none, or was deleted meanwhile */
} VMAddress;

struct VMAddresses {
        VMAddress *addresses;
        size_t n, allocated;
        unsigned pending;
};

void vm_addresses_done(VMAddresses *a);
#define _cleanup_vm_addresses_ _cleanup_(vm_addresses_done)

/* To be asked for, in this order. */
int vm_addresses_add(VMAddresses *a, const char *path);
int vm_addresses_get(sd_bus *bus, VMAddresses *a);
