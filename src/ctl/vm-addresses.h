/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The addresses of all VMs in one call: ListVMs() does not say them. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct VMAddress {
        char *path, *address;
} VMAddress;

typedef struct VMAddresses {
        VMAddress *addresses;
        size_t n, allocated;
} VMAddresses;

void vm_addresses_done(VMAddresses *a);
#define _cleanup_vm_addresses_ _cleanup_(vm_addresses_done)

int vm_addresses_get(sd_bus *bus, VMAddresses *ret, sd_bus_error *error);

/* NULL: it has none, or was made since. */
const char *vm_addresses_find(const VMAddresses *a, const char *path) _pure_;
