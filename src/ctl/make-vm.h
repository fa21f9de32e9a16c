/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What create and provision have in common: a method (name, spec) → (vm, job). */

#include "basic/macro.h"

/* doing stands in errors before the quoted argument: "create VM". Prints the VM's name when it is there. */
int make_vm(const char *method, const char *doing, const char *argument, char *const *command);
