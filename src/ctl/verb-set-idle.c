/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl set-idle: when a VM is put to sleep for being idle. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"
#include "ctl/spec.h"

static int call(sd_bus *bus, const char *path, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, path, HERO_VM, "SetIdlePolicy");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = spec_append_idle(m);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_call(bus, m, 0, error, NULL);
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        if (arg_spec.idle_timeout == 0 && arg_spec.hibernate_delay == 0) {
                fprintf(stderr, "Nothing to set: give --idle-timeout or --hibernate-delay.\n");
                return STATUS_USAGE;
        }
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, argv[0], &path, &name, &error);
        if (r >= 0)
                r = call(bus, path, &error);
        return r < 0 ? report_error(r, &error, "set when VM '%s' sleeps", name ?: argv[0]) : 0;
}

static const Option options[] = {
        SPEC_IDLE_OPTIONS,
        {},
};

const Verb verb_set_idle = {
        .name = "set-idle",
        .arguments = "VM",
        .summary = "Change when a VM is put to sleep for being idle",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
