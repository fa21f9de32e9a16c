/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl hold: not suspended for being idle, for a while. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        uint64_t usec;
        int r;

        r = parse_usec(argv[1], &usec);
        if (r < 0) {
                fprintf(stderr, "'%s' is not a time span such as 90s or 2h; 0 ends a hold.\n", argv[1]);
                return STATUS_USAGE;
        }
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, argv[0], &path, &name, &error);
        if (r >= 0)
                r = vm_call(bus, path, "Hold", &error, NULL, "t", usec);
        return r < 0 ? report_error(r, &error, "hold VM '%s'", name ?: argv[0]) : 0;
}

const Verb verb_hold = {
        .name = "hold",
        .arguments = "VM TIME",
        .summary = "Keep a VM awake for some time",
        .help = "\nIt is not suspended for being idle before TIME is over; 0 ends a hold.\n",
        .min = 2,
        .max = 2,
        .run = run,
};
