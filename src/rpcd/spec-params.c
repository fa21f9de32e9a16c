/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/spec-params.h"

#include "basic/string-util.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* From "resources" where it is not beside it. */
static json_t *resource(const Call *c, const char *name) {
        return call_value(c, name) ?: json_object_get(call_value(c, "resources"), name);
}

static int add(sd_bus_message *m, const char *key, const char *type, ...) {
        va_list ap;
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0) {
                va_start(ap, type);
                r = sd_bus_message_appendv(m, type, ap);
                va_end(ap);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int add_resources(const Call *c, sd_bus_message *m) {
        json_t *cpus = resource(c, "cpu_count"), *memory = resource(c, "memory_mb"), *disk = resource(c, "disk_gb");
        int r = 0;

        if (cpus)
                r = add(m, "CPUs", "u", (uint32_t) json_integer_value(cpus));
        if (r >= 0 && memory)
                r = add(m, "Memory", "t", (uint64_t) json_integer_value(memory) * MIB);
        if (r >= 0 && disk) /* a fraction is rounded up to what the bus takes */
                r = add(m, "Disk", "t", ((uint64_t) (json_number_value(disk) * (double) GIB) + MIB - 1) / MIB * MIB);
        if (r >= 0 && !c->caller->admin)
                r = add(m, "AsOwner", "b", true);
        return r;
}

static int add_string(const Call *c, sd_bus_message *m, const char *param, const char *key) {
        const char *s = call_string(c, param);

        return s ? add(m, key, "s", s) : 0;
}

static int add_strings(const Call *c, sd_bus_message *m, const char *param, const char *key) {
        json_t *a = call_value(c, param), *e;
        size_t i;
        int r;

        if (!a)
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "s");
        json_array_foreach(a, i, e)
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", json_string_value(e));
        for (unsigned k = 0; r >= 0 && k < 3; k++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int answer(Call *c, int r) {
        if (r < 0)
                call_errno(c, r);
        return r;
}

int spec_append(Call *c, sd_bus_message *m, const char *name) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && name)
                r = add(m, "Name", "s", name);
        if (r >= 0)
                r = add_string(c, m, "image", "Image");
        if (r >= 0)
                r = add_resources(c, m);
        if (r >= 0)
                r = add_string(c, m, "hypervisor", "Hypervisor");
        if (r >= 0)
                r = add_strings(c, m, "command", "Command");
        if (r >= 0)
                r = add_strings(c, m, "env", "Environment");
        return answer(c, r < 0 ? r : sd_bus_message_close_container(m));
}

static int add_limit(const Call *c, sd_bus_message *m, const char *param, const char *key) {
        json_t *v = call_value(c, param);

        /* -1: no limit */
        return v ? add(m, key, "t", json_integer_value(v) < 0 ? UINT64_MAX : (uint64_t) json_integer_value(v)) : 0;
}

int resources_append(Call *c, sd_bus_message *m) {
        static const struct {
                const char *param, *key;
        } limits[] = {
                { "cpu_weight", "CPUWeight" },
                { "io_weight", "IOWeight" },
                { "receive_max", "NetworkReceiveMax" },
                { "transmit_max", "NetworkTransmitMax" },
        };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = add_resources(c, m);
        for (unsigned i = 0; r >= 0 && i < ELEMENTSOF(limits); i++)
                r = add_limit(c, m, limits[i].param, limits[i].key);
        return answer(c, r < 0 ? r : sd_bus_message_close_container(m));
}
