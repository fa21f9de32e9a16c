/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return vm_jobs(argv, "Resume", "resume", NULL);
}

static const Option options[] = {
        OPTION_NO_WAIT,
        {},
};

const Verb verb_resume = {
        .name = "resume",
        .arguments = "VM…",
        .summary = "Resume suspended or hibernated VMs",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
