/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What create and provision have in common: a method (name, spec) → (vm, job). */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

/* doing stands in errors before the quoted argument: "create VM". Prints the VM's name when it is there. */
int make_vm(const char *method, const char *doing, const char *argument, char *const *command);

/* Its parts, for run. The reply is (vm, job). */
int make_vm_call(sd_bus *bus, const char *method, const char *argument, char *const *command, sd_bus_error *error,
                 sd_bus_message **ret);

/* The name, or one object with --json; job NULL: it has been waited for. */
int make_vm_print(const char *name, const char *path, const char *job);
