/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The options that make a VM's spec (a{sv} of org.hero.Compute.Manager), shared by create and provision. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"
#include "ctl/options.h"

typedef struct Spec {
        const char *name; /* provision only */
        const char *user; /* create only */
        const char *image;
        unsigned cpus; /* 0: the configured default */
        uint64_t memory;
        uint64_t disk;
        const char *hypervisor;
        const char *shell_command;
        const char *entrypoint; /* as given; see entrypoint_parse() of run-words.h */
        char *const *arguments; /* run only: the image's own are replaced by them */
        char **environment;
        const char *directory;
        const char *run_as;
        bool no_run;
        bool transient; /* create and run only */
        bool no_network;
        uint64_t receive_max, transmit_max;      /* 0: not given */
        uint64_t idle_timeout, hibernate_delay; /* 0: not given */
        const char *kernel_arguments;
        const char *mock_script;
} Spec;

extern Spec arg_spec;

/* Of set-resources and set-idle, too. */
#define SPEC_RATE_OPTIONS                                                                                        \
        { 0, "receive-max", "RATE", OPTION_RATE, &arg_spec.receive_max, "What it may receive, such as 2M a second" }, \
        { 0, "transmit-max", "RATE", OPTION_RATE, &arg_spec.transmit_max, "What it may send, such as 2M a second" }

#define SPEC_IDLE_OPTIONS                                                                                        \
        { 0, "idle-timeout", "TIME", OPTION_DELAY, &arg_spec.idle_timeout, "Suspend it when idle for so long, or never" }, \
        { 0, "hibernate-delay", "TIME", OPTION_DELAY, &arg_spec.hibernate_delay, "Hibernate it so long after that, or never" }

/* What the VM consists of, and what runs in it. */
#define SPEC_MACHINE_OPTIONS                                                                                     \
        { 0, "cpus", "N", OPTION_COUNT, &arg_spec.cpus, "Number of CPUs" },                                       \
        { 0, "memory", "SIZE", OPTION_SIZE, &arg_spec.memory, "Memory of the guest, such as 512M" },             \
        { 0, "disk", "SIZE", OPTION_SIZE, &arg_spec.disk, "Size of the VM's own disk, such as 2G" },             \
        { 0, "hypervisor", "NAME", OPTION_STRING, &arg_spec.hypervisor, "qemu or mock" },                        \
        { 0, "no-network", NULL, OPTION_FLAG, &arg_spec.no_network, "No network: the guest has lo alone" },      \
        SPEC_RATE_OPTIONS,                                                                                       \
        SPEC_IDLE_OPTIONS,                                                                                       \
        { 0, "kernel-arguments", "TEXT", OPTION_STRING, &arg_spec.kernel_arguments, "Added to the kernel's command line" }, \
        { 0, "mock-script", "TEXT", OPTION_STRING, &arg_spec.mock_script, "Behaviour of the mock hypervisor" }

#define SPEC_RUN_OPTIONS                                                                                         \
        { 0, "entrypoint", "WORD|JSON", OPTION_STRING, &arg_spec.entrypoint, "Run this instead of the image's entrypoint" }, \
        { 'e', "env", "NAME[=VALUE]", OPTION_STRV, &arg_spec.environment, "Environment variable, repeatable" },  \
        { 'w', "workdir", "PATH", OPTION_STRING, &arg_spec.directory, "Working directory in the guest" }

#define SPEC_OPTIONS                                                                                             \
        { 0, "image", "IMAGE", OPTION_STRING, &arg_spec.image, "Image to run; it is pulled if it is not here" },  \
        SPEC_MACHINE_OPTIONS,                                                                                    \
        SPEC_RUN_OPTIONS,                                                                                        \
        { 0, "command", "COMMAND", OPTION_STRING, &arg_spec.shell_command, "The VM's own command, for /bin/sh -c" }, \
        { 0, "run-as", "USER[:GROUP]", OPTION_STRING, &arg_spec.run_as, "User of the guest to run the command as" }, \
        { 0, "no-run", NULL, OPTION_FLAG, &arg_spec.no_run, "Run nothing, not even what the image says" }

#define SPEC_HELP                                                                                      \
        "\nThe VM's own command is given with --command or behind '--', word by word; with --entrypoint the\n" \
        "words behind '--' are its arguments. Without any, the image's command runs. The VM ends with its\n" \
        "command; when there is none, or it is a mere shell, the VM stays until it is stopped.\n"

/* Makes the options ready to be used; -EINVAL: they contradict each other, said on stderr. command: as below. */
int spec_check(char *const *command);

/* Appends the spec; command is the one given as arguments (may be empty): the whole command, or with an entrypoint the
 * arguments of that. */
int spec_append(sd_bus_message *m, char *const *command);

/* Their entries of an a{sv}, as far as they were given. */
int spec_append_rates(sd_bus_message *m);
int spec_append_idle(sd_bus_message *m);

/* One entry of an a{sv}. */
int append_variant(sd_bus_message *m, const char *name, const char *type, ...);

/* NAME without a value takes it from our own environment; it goes when it is not there. */
int environment_resolve(char ***environment);
