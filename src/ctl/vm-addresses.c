/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/vm-addresses.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"

void vm_addresses_done(VMAddresses *a) {
        for (size_t i = 0; i < a->n; i++) {
                free(a->addresses[i].path);
                free(a->addresses[i].address);
        }
        a->addresses = mfree(a->addresses);
        a->n = a->allocated = 0;
}

static int add(VMAddresses *a, const char *path, const char *address) {
        VMAddress *e;

        if (isempty(address))
                return 0;
        if (!GREEDY_REALLOC(a->addresses, a->allocated, a->n + 1))
                return -ENOMEM;
        e = &a->addresses[a->n++];
        *e = (VMAddress) { .path = strdup(path), .address = strdup(address) };
        return e->path && e->address ? 0 : -ENOMEM;
}

/* One of the a{sa{sv}} of an object. */
static int read_interface(sd_bus_message *m, VMAddresses *a, const char *path) {
        const char *interface, *property, *address;
        int r;

        r = sd_bus_message_read_basic(m, 's', &interface);
        if (r < 0 || !streq(interface, HERO_VM))
                return r < 0 ? r : sd_bus_message_skip(m, "a{sv}");
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read_basic(m, 's', &property);
                if (r < 0)
                        return r;
                if (streq(property, "MyceliumIP")) {
                        r = sd_bus_message_read(m, "v", "s", &address);
                        if (r >= 0)
                                r = add(a, path, address);
                } else
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_object(sd_bus_message *m, VMAddresses *a) {
        const char *path;
        int r;

        r = sd_bus_message_read_basic(m, 'o', &path);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
                r = read_interface(m, a, path);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int compare(const void *a, const void *b) {
        return strcmp(((const VMAddress *) a)->path, ((const VMAddress *) b)->path);
}

int vm_addresses_get(sd_bus *bus, VMAddresses *ret, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_vm_addresses_ VMAddresses a = {};
        int r;

        r = sd_bus_call_method(bus, HERO_SERVICE, HERO_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", error,
                               &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}")) > 0) {
                r = read_object(reply, &a);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r < 0)
                return r;
        if (a.n > 0)
                qsort(a.addresses, a.n, sizeof(*a.addresses), compare);
        *ret = a;
        a = (VMAddresses) {};
        return 0;
}

const char *vm_addresses_find(const VMAddresses *a, const char *path) {
        const VMAddress key = { .path = (char *) path }, *found = NULL;

        if (a->n > 0)
                found = bsearch(&key, a->addresses, a->n, sizeof(*a->addresses), compare);
        return found ? found->address : NULL;
}
