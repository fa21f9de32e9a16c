/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl whois: whose an address is. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/table.h"

static int print(const char *address, const char *user, const char *vm, const char *path) {
        static const Column columns[] = {
                { "ADDRESS", "address", COLUMN_STRING },
                { "USER", "user", COLUMN_STRING },
                { "VM", "vm", COLUMN_STRING },
                { "OBJECT", "object", COLUMN_STRING, COLUMN_JSON_ONLY },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        if (arg_quiet && arg_json == JSON_OFF) {
                puts(vm);
                return 0;
        }
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r >= 0)
                r = table_add(t, address, user, vm, path);
        if (r < 0)
                return r;
        return arg_json == JSON_OFF ? table_print(t, NULL) : table_print_object(t);
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        const char *user, *vm, *path;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = manager_call(bus, "GetUserByAddress", &error, &reply, "s", argv[0]);
        if (r >= 0)
                r = sd_bus_message_read(reply, "sso", &user, &vm, &path);
        if (r >= 0)
                r = print(argv[0], user, vm, path);
        return r < 0 ? report_error(r, &error, "find out whose address '%s' is", argv[0]) : 0;
}

const Verb verb_whois = {
        .name = "whois",
        .arguments = "ADDRESS",
        .summary = "Show whose VM has an address",
        .min = 1,
        .max = 1,
        .run = run,
};
