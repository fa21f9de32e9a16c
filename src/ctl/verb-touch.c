/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl touch: activity for the idle detection, as network traffic is. */

#include "basic/alloc-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"

static int touch(sd_bus *bus, const char *given) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        int r;

        r = resolve_vm(bus, given, &path, &name, &error);
        if (r >= 0)
                r = vm_call(bus, path, "Touch", &error, NULL, NULL);
        return r < 0 ? report_error(r, &error, "touch VM '%s'", name ?: given) : 0;
}

static int run(int argc, char **argv) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, result = 0;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        STRV_FOREACH(given, argv) {
                r = touch(bus, *given);
                if (r < 0 && result == 0)
                        result = r;
        }
        return result;
}

const Verb verb_touch = {
        .name = "touch",
        .arguments = "VM…",
        .summary = "Count VMs as active now",
        .help = "\nThe time until they are suspended for being idle begins again.\n",
        .min = 1,
        .max = -1,
        .run = run,
};
