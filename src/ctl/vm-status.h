/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One VM laid out for people, or as one JSON object. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

extern unsigned arg_status_lines; /* of the console */

int vm_status_print(sd_bus *bus, const char *path, bool *ret_running, sd_bus_error *error);
