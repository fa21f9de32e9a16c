/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From what a person typed to an object of the service. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

/* A name, an id, or an unambiguous beginning of either, to the object path and the whole name (both to be freed;
 * ret_name may be NULL). */
int resolve_vm(sd_bus *bus, const char *text, char **ret_path, char **ret_name, sd_bus_error *error);
