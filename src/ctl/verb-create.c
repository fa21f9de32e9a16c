/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/make-vm.h"
#include "ctl/spec.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return make_vm("CreateVM", "create VM", argv[0], argv + 1);
}

static const Option options[] = {
        { 'u', "user", "USER", OPTION_STRING, &arg_spec.user, "User id that owns the VM" },
        { 0, "transient", NULL, OPTION_FLAG, &arg_spec.transient, "Delete the VM once it has been started and has ended" },
        SPEC_OPTIONS,
        OPTION_NO_WAIT,
        {},
};

const Verb verb_create = {
        .name = "create",
        .arguments = "NAME [-- COMMAND…]",
        .summary = "Make a VM without starting it",
        .help = SPEC_HELP,
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
