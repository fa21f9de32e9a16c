/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/table.h"
#include "ctl/vm-addresses.h"

static bool arg_users = false;

static int read_addresses(sd_bus *bus, sd_bus_message *m, VMAddresses *a) {
        const char *path;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ssssuto)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(ssssuto)", NULL, NULL, NULL, NULL, NULL, NULL, &path)) > 0)
                r = vm_addresses_add(a, path);
        if (r >= 0)
                r = sd_bus_message_rewind(m, true);
        return r < 0 ? r : vm_addresses_get(bus, a);
}

static int read_vms(sd_bus_message *m, const VMAddresses *a, Table *t) {
        const char *name, *user, *state, *image, *path;
        uint64_t memory;
        size_t i = 0;
        uint32_t cpus;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ssssuto)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(ssssuto)", &name, &user, &state, &image, &cpus, &memory, &path)) > 0) {
                if (arg_quiet) {
                        puts(name);
                        continue;
                }
                r = table_add(t, name, user, state, image, (uint64_t) cpus, memory, a->addresses[i++].address, path);
                if (r < 0)
                        return r;
        }
        return r;
}

static int read_users(sd_bus_message *m, Table *t) {
        const char *user, *name, *state, *path;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ssso)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(ssso)", &user, &name, &state, &path)) > 0) {
                if (arg_quiet) {
                        puts(user);
                        continue;
                }
                r = table_add(t, user, name, state, path);
                if (r < 0)
                        return r;
        }
        return r;
}

static int list_vms(sd_bus *bus, Table *t, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_vm_addresses_ VMAddresses addresses = {};
        int r;

        r = manager_call(bus, "ListVMs", error, &reply, NULL);
        if (r >= 0 && !arg_quiet)
                r = read_addresses(bus, reply, &addresses);
        return r < 0 ? r : read_vms(reply, &addresses, t);
}

static int list_users(sd_bus *bus, Table *t, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = manager_call(bus, "ListUsers", error, &reply, NULL);
        return r < 0 ? r : read_users(reply, t);
}

static int run(int argc, char **argv) {
        static const Column vm_columns[] = {
                { "NAME", "name", COLUMN_STRING },     { "USER", "user", COLUMN_STRING },
                { "STATE", "state", COLUMN_STRING },   { "IMAGE", "image", COLUMN_STRING },
                { "CPUS", "cpus", COLUMN_NUMBER },     { "MEMORY", "memory", COLUMN_BYTES },
                { "ADDRESS", "address", COLUMN_STRING },
                { "OBJECT", "object", COLUMN_STRING, COLUMN_JSON_ONLY },
        };
        static const Column user_columns[] = {
                { "USER", "user", COLUMN_STRING },
                { "VM", "vm", COLUMN_STRING },
                { "STATE", "state", COLUMN_STRING },
                { "OBJECT", "object", COLUMN_STRING, COLUMN_JSON_ONLY },
        };
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_table_ Table *t = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = arg_users ? table_new(user_columns, ELEMENTSOF(user_columns), &t)
                      : table_new(vm_columns, ELEMENTSOF(vm_columns), &t);
        if (r >= 0)
                r = arg_users ? list_users(bus, t, &error) : list_vms(bus, t, &error);
        if (r < 0)
                return report_error(r, &error, "list %s", arg_users ? "users" : "VMs");
        return arg_quiet ? 0 : table_print(t, arg_users ? "users" : "VMs");
}

static const Option options[] = {
        { 0, "users", NULL, OPTION_FLAG, &arg_users, "List users who have a VM" },
        {},
};

const Verb verb_list = {
        .name = "list",
        .arguments = "",
        .summary = "List VMs, or users",
        .options = options,
        .run = run,
};
