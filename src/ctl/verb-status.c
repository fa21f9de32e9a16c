/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl status: one VM as systemctl status shows a unit, or the host. */

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/host-status.h"
#include "ctl/resolve.h"
#include "ctl/vm-status.h"

static int status_vm(sd_bus *bus, const char *given, bool separate) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL;
        bool running = false;
        int r;

        r = resolve_vm(bus, given, &path, NULL, &error);
        if (r >= 0) {
                if (separate && arg_json == JSON_OFF)
                        putchar('\n');
                r = vm_status_print(bus, path, &running, &error);
        }
        if (r < 0)
                return report_error(r, &error, "get the status of VM '%s'", given);
        return running ? STATUS_SUCCESS : STATUS_NOT_RUNNING;
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, status = STATUS_SUCCESS;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        if (argc == 0) {
                r = host_status_print(bus, &error);
                return r < 0 ? report_error(r, &error, "get the status of the host") : 0;
        }
        for (int i = 0; i < argc; i++) {
                r = status_vm(bus, argv[i], i > 0);
                if (status == STATUS_SUCCESS || r < 0)
                        status = r;
        }
        return status;
}

static const Option options[] = {
        { 'n', "lines", "N", OPTION_UINT, &arg_status_lines, "Lines of the console to show (10)" },
        {},
};

const Verb verb_status = {
        .name = "status",
        .arguments = "[VM…]",
        .summary = "Show a VM, or what the host has and has promised",
        .help = "\nExits with 3 when the VM does not run.\n",
        .options = options,
        .max = -1,
        .run = run,
};
