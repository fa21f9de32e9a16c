/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The end: the VM's command is asked to go by its stop signal (10 s), then everybody is (SIGTERM, 5 s), then made to go
 * (SIGKILL), disks are brought in order, and the machine goes off. Nothing in between blocks the loop.
 * An init of the image is asked to do all that (18 s). */

#include "guest-init/guest.h"

void power_begin(Guest *g, GpShutdown mode);

/* Reaps every process that has ended and passes it on to whom it belongs. */
void power_reap(Guest *g);

/* Goes from stage to stage. */
void power_pump(Guest *g, uint64_t now);
uint64_t power_deadline(const Guest *g);

/* In POWER_DOWN, when the channel is empty or nobody reads it. Does not return. */
_Noreturn void power_off(Guest *g);
