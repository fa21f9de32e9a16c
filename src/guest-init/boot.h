/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From BOOT to READY. */

#include "guest-init/guest.h"

/* BOOT; only the first one counts. */
void boot(Guest *g, const uint8_t *payload, size_t n);

/* The last step: READY, and the console is offered. */
void boot_ready(Guest *g);

/* BOOT_FAILED, and the machine goes off. error: -errno. */
void boot_failed(Guest *g, int error, const char *why);
/* Likewise, when it is the command that could not be executed. */
void boot_failed_command(Guest *g, int error, const char *why);

void boot_set_clock(uint64_t realtime_usec);
