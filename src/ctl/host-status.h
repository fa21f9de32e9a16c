/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the host has, what of it is promised, and which VMs could not be read. */

#include <systemd/sd-bus.h>

int host_status_print(sd_bus *bus, sd_bus_error *error);
