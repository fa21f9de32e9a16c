/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return vm_jobs(argv, "Hibernate", "hibernate", NULL);
}

static const Option options[] = {
        OPTION_NO_WAIT,
        {},
};

const Verb verb_hibernate = {
        .name = "hibernate",
        .arguments = "VM…",
        .summary = "Write VMs to disk: no process, no memory until they are resumed",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
