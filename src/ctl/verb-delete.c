/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static bool arg_force = false;

static int run(int argc, char **argv) {
        uint64_t flags = arg_force ? 1 : 0;

        return vm_jobs(argv, "Delete", "delete", &flags);
}

static const Option options[] = {
        { 'f', "force", NULL, OPTION_FLAG, &arg_force, "Do not stop it gracefully first" },
        OPTION_NO_WAIT,
        {},
};

const Verb verb_delete = {
        .name = "delete",
        .arguments = "VM…",
        .summary = "Stop VMs if need be and remove them with their disks",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
