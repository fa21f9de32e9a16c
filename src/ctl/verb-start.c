/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return vm_jobs(argv, "Start", "start", NULL);
}

static const Option options[] = {
        OPTION_NO_WAIT,
        {},
};

const Verb verb_start = {
        .name = "start",
        .arguments = "VM…",
        .summary = "Start VMs that are stopped",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
