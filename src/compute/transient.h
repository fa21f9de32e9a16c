/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Transient VMs: deleted once they have ended, by a job of our own. */

#include "basic/time-util.h"
#include "compute/vm.h"

/* For those who asked to be told of the end, to ask how it came. */
#define TRANSIENT_LINGER (5 * USEC_PER_SEC)
/* A deletion that failed or was canceled is tried again. */
#define TRANSIENT_RETRY (60 * USEC_PER_SEC)

/* Everything after which a VM may have ended for good calls this: if it is transient, has, and still has when the time is
 * over, its deletion begins. */
void transient_look(Vm *vm, uint64_t delay_usec);

/* A Wait() was answered. */
void transient_answered(Vm *vm);

/* It is being started. */
void transient_reset(Vm *vm);
