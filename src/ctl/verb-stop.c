/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static bool arg_force = false, arg_all = false;

/* Which have a process, or will in a moment, or a guest that waits on disk. */
static bool state_is_up(const char *state) {
        static const char *const up[] = { "starting",    "running",    "suspending", "suspended",
                                          "hibernating", "hibernated", "resuming" };

        for (size_t i = 0; i < ELEMENTSOF(up); i++)
                if (streq(up[i], state))
                        return true;
        return false;
}

static int read_names(sd_bus_message *m, char ***names) {
        const char *name, *state;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ssssuto)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(ssssuto)", &name, NULL, &state, NULL, NULL, NULL, NULL)) > 0) {
                if (!state_is_up(state))
                        continue;
                r = strv_extend(names, name);
                if (r < 0)
                        return r;
        }
        return r;
}

static int find_all(char ***names) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = manager_call(bus, "ListVMs", &error, &reply, NULL);
        if (r >= 0)
                r = read_names(reply, names);
        return r < 0 ? report_error(r, &error, "list VMs") : 0;
}

static int run(int argc, char **argv) {
        _cleanup_strv_free_ char **names = NULL;
        uint64_t flags = arg_force ? 1 : 0;
        int r;

        if (arg_all != (argc == 0)) {
                fprintf(stderr, "Give either VMs or --all.\n");
                return STATUS_USAGE;
        }
        if (arg_all) {
                r = find_all(&names);
                if (r < 0)
                        return r;
        }
        return vm_jobs(arg_all ? names : argv, "Stop", "stop", &flags);
}

static const Option options[] = {
        { 'a', "all", NULL, OPTION_FLAG, &arg_all, "Every VM that is up" },
        { 'f', "force", NULL, OPTION_FLAG, &arg_force, "Kill it at once" },
        OPTION_NO_WAIT,
        {},
};

const Verb verb_stop = {
        .name = "stop",
        .arguments = "VM…",
        .summary = "Stop VMs: agent, power button, then kill, each in its time",
        .options = options,
        .max = -1,
        .run = run,
};
