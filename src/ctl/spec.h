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
        char **environment;
        const char *directory;
        const char *kernel_arguments;
        const char *mock_script;
} Spec;

extern Spec arg_spec;

#define SPEC_OPTIONS                                                                                             \
        { 0, "image", "IMAGE", OPTION_STRING, &arg_spec.image, "Image to run, NAME[:TAG] or digest" },           \
        { 0, "cpus", "N", OPTION_COUNT, &arg_spec.cpus, "Number of CPUs" },                                       \
        { 0, "memory", "SIZE", OPTION_SIZE, &arg_spec.memory, "Memory of the guest, such as 512M" },             \
        { 0, "disk", "SIZE", OPTION_SIZE, &arg_spec.disk, "Size of the VM's own disk, such as 2G" },             \
        { 0, "hypervisor", "NAME", OPTION_STRING, &arg_spec.hypervisor, "qemu or mock" },                        \
        { 0, "command", "COMMAND", OPTION_STRING, &arg_spec.shell_command, "The VM's own command, for /bin/sh -c" }, \
        { 'e', "env", "NAME=VALUE", OPTION_STRV, &arg_spec.environment, "Environment variable, repeatable" },    \
        { 'w', "workdir", "PATH", OPTION_STRING, &arg_spec.directory, "Working directory in the guest" },        \
        { 0, "kernel-arguments", "TEXT", OPTION_STRING, &arg_spec.kernel_arguments, "Added to the kernel's command line" }, \
        { 0, "mock-script", "TEXT", OPTION_STRING, &arg_spec.mock_script, "Behaviour of the mock hypervisor" }

#define SPEC_HELP                                                                                      \
        "\nThe VM's own command is given with --command or behind '--', word by word. Without one the\n" \
        "image's is used; the VM stays until it is stopped.\n"

/* Appends the spec; command is the one given as arguments (may be empty). */
int spec_append(sd_bus_message *m, char *const *command);

/* One entry of an a{sv}. */
int append_variant(sd_bus_message *m, const char *name, const char *type, ...);
