/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return vm_jobs(argv, "Restart", "restart", NULL);
}

static const Option options[] = {
        OPTION_NO_WAIT,
        {},
};

const Verb verb_restart = {
        .name = "restart",
        .arguments = "VM…",
        .summary = "Stop VMs gracefully and start them again",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
