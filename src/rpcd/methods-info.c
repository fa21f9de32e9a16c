/* SPDX-License-Identifier: Apache-2.0 */

/* info, health, rpc.discover. */

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call.h"
#include "rpcd/methods.h"
#include "rpcd/openrpc.h"
#include "rpcd/replica.h"
#include "shared/bus-util.h"

#define CALL_TIMEOUT (25 * USEC_PER_SEC)

typedef struct HostInfo {
        const char *version, *hypervisor, *accelerator, *subnet, *subnet_source;
        uint32_t cpus, cpus_reserved;
        uint64_t memory, memory_reserved;
} HostInfo;

static int read_property(sd_bus_message *m, HostInfo *i) {
        const struct {
                const char *name, *type;
                void *p;
        } wanted[] = {
                { "Version", "s", &i->version },            { "Hypervisor", "s", &i->hypervisor },
                { "Accelerator", "s", &i->accelerator },    { "Subnet", "s", &i->subnet },
                { "SubnetSource", "s", &i->subnet_source }, { "CPUsTotal", "u", &i->cpus },
                { "CPUsReserved", "u", &i->cpus_reserved }, { "MemoryTotal", "t", &i->memory },
                { "MemoryReserved", "t", &i->memory_reserved },
        };
        const char *name;
        int r;

        r = sd_bus_message_read_basic(m, 's', &name);
        if (r < 0)
                return r;
        for (unsigned k = 0; k < ELEMENTSOF(wanted); k++)
                if (streq(wanted[k].name, name))
                        return sd_bus_message_read(m, "v", wanted[k].type, wanted[k].p);
        return sd_bus_message_skip(m, "v");
}

static int read_properties(sd_bus_message *m, HostInfo *i) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_property(m, i);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static int count(const Call *c, const char *state) {
        unsigned n;

        replica_count(c->rpcd->replica, state, &n);
        return (int) n;
}

static json_t *counts(const Call *c) {
        return json_pack("{s:i, s:i, s:i, s:i, s:i}", "total", (int) replica_n_vms(c->rpcd->replica), "created", count(c, "created"),
                         "running", count(c, "running"), "stopped", count(c, "stopped"), "failed", count(c, "failed"));
}

static int on_properties(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        HostInfo i = {};
        Call *c = userdata;
        int r;

        if (call_failed(c, reply))
                return 0;
        r = read_properties(reply, &i);
        if (r < 0) {
                call_errno(c, r);
                return 0;
        }
        call_result(c, json_pack("{s:s, s:s, s:s?, s:s?, s:{s:b, s:s?, s:s?}, s:{s:i, s:i, s:I, s:I}, s:o}",
                                 "name", "hero_compute_manager", "version", strna(i.version), "driver", i.hypervisor, "accelerator",
                                 i.accelerator, "mycelium", "enabled", i.subnet_source && streq(i.subnet_source, "mycelium"), "subnet",
                                 i.subnet, "source", i.subnet_source, "capacity", "cpu_count", (int) i.cpus, "cpu_count_reserved",
                                 (int) i.cpus_reserved, "memory_mb", (json_int_t) (i.memory >> 20), "memory_mb_reserved",
                                 (json_int_t) (i.memory_reserved >> 20), "vms", counts(c)));
        return 0;
}

void method_info(Call *c) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->rpcd->bus, &m, COMPUTE_BUS_NAME, COMPUTE_OBJECT, "org.freedesktop.DBus.Properties",
                                           "GetAll");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", COMPUTE_MANAGER_INTERFACE);
        if (r < 0) {
                sd_bus_message_unref(m);
                call_errno(c, r);
        } else
                call_bus(c, m, on_properties, CALL_TIMEOUT);
}

void method_health(Call *c) {
        call_result(c, json_pack("{s:s, s:s, s:s}", "status", "ok", "service", "hero_compute_manager", "version", HERO_VERSION));
}

void method_discover(Call *c) {
        size_t n;
        const char *s = openrpc_document(&n);

        if (s)
                call_result_text(c, s, n);
        else
                call_errno(c, -ENOMEM);
}
