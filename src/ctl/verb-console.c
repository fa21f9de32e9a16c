/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl console: the VM's serial console on this terminal. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "ctl/bus.h"
#include "ctl/console-session.h"
#include "ctl/heroctl.h"
#include "ctl/polkit-agent.h"
#include "ctl/resolve.h"

static bool arg_no_history = false;

static int open_console(const char *given, ConsoleSession **ret, char **ret_name) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, given, &path, ret_name, &error);
        if (r >= 0)
                r = console_session_open(bus, path, *ret_name, !arg_no_history, true, ret, &error);
        return r < 0 ? report_error(r, &error, "open the console of VM '%s'", *ret_name ?: given) : 0;
}

static int run(int argc, char **argv) {
        _cleanup_console_session_ ConsoleSession *c = NULL;
        _cleanup_free_ char *name = NULL;
        bool left;
        int r;

        r = open_console(argv[0], &c, &name);
        if (r < 0)
                return r;
        polkit_agent_close(); /* it must not take what is typed to the console */
        r = console_session_run(c, &left);
        if (!arg_quiet && r == 0)
                fprintf(stderr, "\n%s VM '%s'.\n", left ? "Left" : "End of the console of", name);
        return r;
}

static const Option options[] = {
        { 0, "no-history", NULL, OPTION_FLAG, &arg_no_history, "Do not show what was written before" },
        {},
};

const Verb verb_console = {
        .name = "console",
        .arguments = "VM",
        .summary = "Use the console of a VM; Ctrl-] three times leaves it",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
