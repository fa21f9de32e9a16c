/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/spec.h"

#include <stdarg.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/run-words.h"

Spec arg_spec = {};

int append_variant(sd_bus_message *m, const char *name, const char *type, ...) {
        va_list ap;
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, 's', name);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'v', type);
        if (r < 0)
                return r;
        va_start(ap, type);
        if (strcmp(type, "as") == 0)
                r = sd_bus_message_append_strv(m, va_arg(ap, char **));
        else
                r = sd_bus_message_appendv(m, type, ap);
        va_end(ap);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int append_string(sd_bus_message *m, const char *name, const char *value) {
        return value ? append_variant(m, name, "s", value) : 0;
}

static int append_number(sd_bus_message *m, const char *name, uint64_t value) {
        return value > 0 ? append_variant(m, name, "t", value) : 0;
}

int spec_append_rates(sd_bus_message *m) {
        int r;

        r = append_number(m, "NetworkReceiveMax", arg_spec.receive_max);
        return r < 0 ? r : append_number(m, "NetworkTransmitMax", arg_spec.transmit_max);
}

int spec_append_idle(sd_bus_message *m) {
        int r;

        r = append_number(m, "IdleTimeoutUSec", arg_spec.idle_timeout);
        return r < 0 ? r : append_number(m, "HibernateDelayUSec", arg_spec.hibernate_delay);
}

static int append_network(sd_bus_message *m) {
        int r = 0;

        if (arg_spec.no_network)
                r = append_variant(m, "Network", "b", 0);
        return r < 0 ? r : spec_append_rates(m);
}

static int append_entrypoint(sd_bus_message *m) {
        _cleanup_strv_free_ char **words = NULL;
        int r;

        if (!arg_spec.entrypoint)
                return 0;
        r = entrypoint_parse(arg_spec.entrypoint, &words);
        return r < 0 ? r : append_variant(m, "Entrypoint", "as", words);
}

static int append_command(sd_bus_message *m, char *const *command) {
        const char *shell[] = { "/bin/sh", "-c", arg_spec.shell_command, NULL };
        bool given = command && command[0];
        int r;

        if (arg_spec.shell_command)
                return append_variant(m, "Command", "as", shell);
        r = append_entrypoint(m);
        if (r >= 0 && arg_spec.arguments && arg_spec.arguments[0])
                r = append_variant(m, "Arguments", "as", arg_spec.arguments);
        if (r >= 0 && given)
                r = append_variant(m, arg_spec.entrypoint ? "Arguments" : "Command", "as", command);
        return r;
}

static int contradiction(const char *sentence) {
        fprintf(stderr, "%s\n", sentence);
        return -EINVAL;
}

int spec_check(char *const *command) {
        _cleanup_strv_free_ char **words = NULL;
        bool given = command && command[0];
        int r;

        if (arg_spec.shell_command && given)
                return contradiction("--command and a command behind '--' are two commands: give one.");
        if (arg_spec.shell_command && arg_spec.entrypoint)
                return contradiction("--command is all that runs: leave out --entrypoint, or give its arguments behind '--'.");
        if (arg_spec.no_network && (arg_spec.receive_max > 0 || arg_spec.transmit_max > 0))
                return contradiction("--no-network leaves nothing to limit: leave it out, or --receive-max and --transmit-max.");
        if (arg_spec.no_run && (arg_spec.shell_command || arg_spec.entrypoint || given))
                return contradiction("--no-run runs nothing: leave it out, or the command.");
        if (arg_spec.entrypoint) {
                r = entrypoint_parse(arg_spec.entrypoint, &words);
                if (r == -EINVAL)
                        return contradiction("--entrypoint must be a word, '' for none, or a JSON array such as "
                                             "'[\"/bin/sh\", \"-c\"]'.");
                if (r < 0)
                        return r;
        }
        return environment_resolve(&arg_spec.environment);
}

int spec_append(sd_bus_message *m, char *const *command) {
        const struct {
                const char *key, *value;
        } strings[] = {
                { "Name", arg_spec.name },
                { "User", arg_spec.user },
                { "Image", arg_spec.image },
                { "Hypervisor", arg_spec.hypervisor },
                { "WorkingDirectory", arg_spec.directory },
                { "RunAs", arg_spec.run_as },
                { "KernelArguments", arg_spec.kernel_arguments },
                { "MockScript", arg_spec.mock_script },
        };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(strings) && r >= 0; i++)
                r = append_string(m, strings[i].key, strings[i].value);
        if (r >= 0 && arg_spec.cpus > 0)
                r = append_variant(m, "CPUs", "u", arg_spec.cpus);
        if (r >= 0)
                r = append_number(m, "Memory", arg_spec.memory);
        if (r >= 0)
                r = append_number(m, "Disk", arg_spec.disk);
        if (r >= 0)
                r = append_network(m);
        if (r >= 0)
                r = spec_append_idle(m);
        if (r >= 0 && arg_spec.environment)
                r = append_variant(m, "Environment", "as", arg_spec.environment);
        if (r >= 0 && arg_spec.no_run)
                r = append_variant(m, "RunImage", "b", 0);
        if (r >= 0 && arg_spec.transient)
                r = append_variant(m, "Transient", "b", 1);
        if (r >= 0)
                r = append_command(m, command);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int environment_resolve(char ***environment) {
        _cleanup_strv_free_ char **all = NULL;
        int r = 0;

        STRV_FOREACH(e, *environment) {
                const char *value = strchr(*e, '=') ? NULL : getenv(*e);

                if (value)
                        r = strv_extendf(&all, "%s=%s", *e, value);
                else if (strchr(*e, '='))
                        r = strv_extend(&all, *e);
                if (r < 0)
                        return r;
        }
        strv_free(*environment);
        *environment = TAKE_PTR(all);
        return 0;
}
