/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The data models of hero_compute_manager, "VM" and "User VM", as its documents print them, and one member more: detail_state. */

#include "rpcd/json-text.h"
#include "rpcd/replica.h"

/* Its eight words folded into the four of the seed: "created", "running", "stopped", "failed". */
const char *vm_model_state(const char *state);

void vm_model_vm(JsonText *t, const ReplicaVm *vm);
void vm_model_user_vm(JsonText *t, const ReplicaVm *vm);
