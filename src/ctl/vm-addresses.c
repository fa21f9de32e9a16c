/* SPDX-License-Identifier: Apache-2.0 */

/* The one property of each VM, several questions at a time: GetManagedObjects() would keep the service at work for as long as
 * all properties of all VMs take, and VMs that wake up waiting. */

#include "ctl/vm-addresses.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "ctl/heroctl.h"

#define PENDING_MAX 64u /* the system bus permits 128 by default */

void vm_addresses_done(VMAddresses *a) {
        for (size_t i = 0; i < a->n; i++) {
                free(a->addresses[i].path);
                free(a->addresses[i].address);
        }
        a->addresses = mfree(a->addresses);
        a->n = a->allocated = 0;
}

int vm_addresses_add(VMAddresses *a, const char *path) {
        VMAddress *e;

        if (!GREEDY_REALLOC(a->addresses, a->allocated, a->n + 1))
                return -ENOMEM;
        e = &a->addresses[a->n++];
        *e = (VMAddress) { .all = a, .path = strdup(path) };
        return e->path ? 0 : -ENOMEM;
}

static int on_address(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        VMAddress *e = userdata;
        const char *address;

        e->all->pending--;
        if (sd_bus_message_read(m, "v", "s", &address) >= 0 && address[0])
                e->address = strdup(address);
        return 0;
}

static int ask(sd_bus *bus, VMAddress *e) {
        int r;

        r = sd_bus_call_method_async(bus, NULL, HERO_SERVICE, e->path, "org.freedesktop.DBus.Properties", "Get", on_address, e,
                                     "ss", HERO_VM, "MyceliumIP");
        if (r >= 0)
                e->all->pending++;
        return r;
}

int vm_addresses_get(sd_bus *bus, VMAddresses *a) {
        size_t next = 0;
        int r;

        while (next < a->n || a->pending > 0) {
                if (next < a->n && a->pending < PENDING_MAX)
                        r = ask(bus, &a->addresses[next++]);
                else {
                        r = sd_bus_process(bus, NULL);
                        if (r == 0)
                                r = sd_bus_wait(bus, UINT64_MAX);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}
