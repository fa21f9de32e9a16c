/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/heroctl.h"
#include "ctl/make-vm.h"
#include "ctl/spec.h"
#include "ctl/vm-job.h"

static int run(int argc, char **argv) {
        return make_vm("ProvisionUser", "provision user", argv[0], argv + 1);
}

static const Option options[] = {
        { 'n', "name", "NAME", OPTION_STRING, &arg_spec.name, "Name of the VM, else made from the user id" },
        SPEC_OPTIONS,
        OPTION_NO_WAIT,
        {},
};

const Verb verb_provision = {
        .name = "provision",
        .arguments = "USER [-- COMMAND…]",
        .summary = "Make and start the VM of a user, or start the one there is",
        .help = SPEC_HELP,
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
