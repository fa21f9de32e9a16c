/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"

static char **arg_states = NULL;
static uint64_t arg_timeout = USEC_INFINITY;

/* --state may be repeated and may be a list with commas. */
static int split_states(char ***ret) {
        _cleanup_strv_free_ char **l = NULL;
        int r;

        STRV_FOREACH(given, arg_states)
                for (const char *s = *given; *s;) {
                        size_t n = strcspn(s, ",");

                        if (n > 0) {
                                r = strv_consume(&l, strndup(s, n));
                                if (r < 0)
                                        return r;
                        }
                        s += n + (s[n] == ',');
                }
        if (!l) {
                r = strv_extend(&l, "running");
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(l);
        return 0;
}

static int call(sd_bus *bus, const char *path, char **states, sd_bus_error *error, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, path, HERO_VM, "Wait");
        if (r < 0)
                return r;
        r = sd_bus_message_append_strv(m, states);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "t", arg_timeout);
        if (r < 0)
                return r;
        return sd_bus_call(bus, m, UINT64_MAX, error, ret);
}

static int print_result(const char *name, const char *state, const char *reason, bool timed_out) {
        static const Column columns[] = {
                { "NAME", "name", COLUMN_STRING },
                { "STATE", "state", COLUMN_STRING },
                { "REASON", "reason", COLUMN_STRING },
                { "TIMED OUT", "timed-out", COLUMN_BOOLEAN },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        if (arg_json == JSON_OFF) {
                if (!arg_quiet)
                        puts(state);
                return 0;
        }
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r < 0)
                return r;
        r = table_add(t, name, state, reason, (int) timed_out);
        return r < 0 ? r : table_print_object(t);
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL, *name = NULL, *clean = NULL;
        _cleanup_strv_free_ char **states = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        const char *state, *reason;
        int timed_out, r;

        r = split_states(&states);
        arg_states = strv_free(arg_states);
        if (r < 0)
                return r;
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, argv[0], &path, &name, &error);
        if (r >= 0)
                r = call(bus, path, states, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "ssb", &state, &reason, &timed_out);
        if (r >= 0)
                r = print_result(name, state, reason, timed_out);
        if (r < 0)
                return report_error(r, &error, "wait for VM '%s'", name ?: argv[0]);
        if (timed_out) {
                fprintf(stderr, "Timed out: VM '%s' is %s.\n", name, state);
                return STATUS_TIMED_OUT;
        }
        if (strv_contains(states, state) || strv_contains(states, "agent"))
                if (!streq(state, "failed") && !streq(state, "start-failed"))
                        return STATUS_SUCCESS;
        if (strv_contains(states, state))
                return STATUS_SUCCESS;
        clean = sanitize_line(reason);
        fprintf(stderr, "VM '%s' is %s: %s\n", name, state, strna(clean));
        return STATUS_FAILURE;
}

static const Option options[] = {
        { 's', "state", "STATE", OPTION_STRV, &arg_states, "State to wait for, repeatable (running)" },
        { 't', "timeout", "TIME", OPTION_USEC, &arg_timeout, "Give up after this time, such as 2min" },
        {},
};

const Verb verb_wait = {
        .name = "wait",
        .arguments = "VM",
        .summary = "Wait until a VM is in a state",
        .help = "\n'agent' as a state waits until commands can be run in the guest. Exits with 124 when the time\n"
                "is over, with 1 when the VM cannot come to the state any more.\n",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
