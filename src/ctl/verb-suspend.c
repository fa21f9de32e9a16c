/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return vm_jobs(argv, "Suspend", "suspend", NULL);
}

static const Option options[] = {
        OPTION_NO_WAIT,
        {},
};

const Verb verb_suspend = {
        .name = "suspend",
        .arguments = "VM…",
        .summary = "Pause VMs in memory: no CPU time until they are resumed",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
