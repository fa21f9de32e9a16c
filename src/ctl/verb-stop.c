/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static bool arg_force = false;

static int run(int argc, char **argv) {
        uint64_t flags = arg_force ? 1 : 0;

        return vm_jobs(argv, "Stop", "stop", &flags);
}

static const Option options[] = {
        { 'f', "force", NULL, OPTION_FLAG, &arg_force, "Kill it at once" },
        OPTION_NO_WAIT,
        {},
};

const Verb verb_stop = {
        .name = "stop",
        .arguments = "VM…",
        .summary = "Stop VMs: agent, power button, then kill, each in its time",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
