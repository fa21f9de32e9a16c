/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Entry into systemd-machined, where there is one, so that `machinectl list` shows the VM. Best effort: absent is
 * normal. It is asked a few things at a time, the others wait their turn: machined answers one after the other, and
 * the bus allows a connection 128 unanswered calls. */

#include "compute/vm.h"

void registration_add(Vm *vm);

/* True when machined knows nothing of the VM (any more). False: it is being told; vm_check_gone() is called again. */
bool registration_is_gone(Vm *vm);

/* Drops what is outstanding for the VM. */
void registration_forget(Vm *vm);
