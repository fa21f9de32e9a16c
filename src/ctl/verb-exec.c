/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl exec: a command in a running VM. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/exec-session.h"
#include "ctl/heroctl.h"
#include "ctl/polkit-agent.h"
#include "ctl/resolve.h"
#include "ctl/spec.h"

static bool arg_interactive = false, arg_tty = false;
static const char *arg_user = NULL, *arg_directory = NULL;
static char **arg_environment = NULL;

static int open_session(const char *given, char **command, ExecSession **ret) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        ExecSessionOptions o;
        int r;

        r = environment_resolve(&arg_environment);
        if (r < 0)
                return r;
        o = (ExecSessionOptions) { .interactive = arg_interactive, .tty = arg_tty, .user = arg_user,
                                   .directory = arg_directory, .environment = arg_environment };
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, given, &path, &name, &error);
        if (r >= 0)
                r = exec_session_open(bus, path, name, command, &o, ret, &error);
        if (r < 0)
                return report_error(r, &error, "execute '%s' in VM '%s'", command[0], name ?: given);
        return 0;
}

static int run(int argc, char **argv);

static const Option options[] = {
        { 'i', "interactive", NULL, OPTION_FLAG, &arg_interactive, "Pass standard input on" },
        { 't', "tty", NULL, OPTION_FLAG, &arg_tty, "Give the command a terminal" },
        { 'u', "user", "USER", OPTION_STRING, &arg_user, "User of the guest to run as, NAME or UID[:GROUP]" },
        { 'e', "env", "NAME[=VALUE]", OPTION_STRV, &arg_environment, "Environment variable, repeatable" },
        { 'w', "workdir", "PATH", OPTION_STRING, &arg_directory, "Working directory in the guest" },
        {},
};

const Verb verb_exec = {
        .name = "exec",
        .arguments = "VM [--] COMMAND…",
        .summary = "Run a command in a VM",
        .help = "\nExits with the command's status, 128 + N when signal N killed it, 127 when it was not found,\n"
                "126 when it could not be executed, 125 when anything failed before that.\n",
        .options = options,
        .options_first = true,
        .min = 2,
        .max = -1,
        .run = run,
};

/* Options may stand behind the VM too: heroctl exec VM -it -- sh. */
static int options_behind_vm(int argc, char **argv, char ***ret_command) {
        int first, r;

        r = parse_options(options, true, argc, argv, &first);
        if (r < 0)
                return r;
        *ret_command = argv + first;
        if (!argv[first]) {
                fprintf(stderr, "Too few arguments. Usage: heroctl exec [OPTIONS…] %s\n", verb_exec.arguments);
                return -EINVAL;
        }
        return 0;
}

static int run(int argc, char **argv) {
        _cleanup_exec_session_ ExecSession *s = NULL;
        char **command;
        int r;

        if (options_behind_vm(argc, argv, &command) < 0)
                return STATUS_EXEC;
        r = open_session(argv[0], command, &s);
        if (r < 0) {
                arg_environment = strv_free(arg_environment);
                return STATUS_EXEC;
        }
        polkit_agent_close(); /* it must not take what is typed to the command */
        r = exec_session_run(s);
        arg_environment = strv_free(arg_environment);
        return r;
}
