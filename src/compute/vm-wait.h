/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* VM.Wait(): calls that are answered when the VM comes into a state. Owned by the VM. */

#include "compute/vm.h"

#define WAITERS_MAX 64u

int vm_method_wait(sd_bus_message *message, void *userdata, sd_bus_error *error);
void vm_waiters_wake(Vm *vm);
void vm_waiters_done(Vm *vm); /* answers NoSuchVM */
