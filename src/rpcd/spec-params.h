/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From parameters (cpu_count, memory_mb, disk_gb, image, …; the first three also in "resources") to the a{sv} of the bus. */

#include "rpcd/call.h"

/* Appends a spec to m. For who is no administrator it says AsOwner, so that hero-computed's limits for users hold. 0, or < 0 when
 * the call has been answered. */
int spec_append(Call *c, sd_bus_message *m, const char *name);

/* The same for VM.SetResources(). */
int resources_append(Call *c, sd_bus_message *m);
