/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The connection, and errors as people read them: one sentence, one hint. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

#define _cleanup_bus_ _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_error_ _cleanup_(sd_bus_error_free)

/* Connects to the system bus; interactive authorisation is allowed unless --no-ask-password, with an agent on
 * the terminal. Reports its failure itself. */
int bus_connect(sd_bus **ret);

/* Writes "Failed to WHAT: sentence." and, when there is something to do about it, a line with a hint. r is what
 * the call returned, e may be unset. Returns the negative errno that the error stands for. */
int report_error(int r, const sd_bus_error *e, const char *format, ...) _printf_(3, 4);

/* Methods of the Manager and of a VM; arguments and types as for sd_bus_call_method(). */
#define manager_call(bus, method, error, reply, ...) \
        sd_bus_call_method((bus), HERO_SERVICE, HERO_PATH, HERO_MANAGER, (method), (error), (reply), __VA_ARGS__)
#define vm_call(bus, path, method, error, reply, ...) \
        sd_bus_call_method((bus), HERO_SERVICE, (path), HERO_VM, (method), (error), (reply), __VA_ARGS__)

/* One member of a struct that bus_get_properties() fills. Types: s (char *, to be freed), as (char **, to be freed),
 * a{ss} (char **: key, value, …), u, t, i (as their C types), b (bool), (ttttt) (uint64_t[5]). */
typedef struct PropertyMap {
        const char *name;
        const char *type;
        size_t offset;
} PropertyMap;

/* All properties of an interface in one round trip; unknown ones are skipped. */
int bus_get_properties_of(sd_bus *bus, const char *service, const char *path, const char *interface,
                          const PropertyMap *map, void *target, sd_bus_error *error);
#define bus_get_properties(bus, path, interface, map, target, error) \
        bus_get_properties_of((bus), HERO_SERVICE, (path), (interface), (map), (target), (error))

/* Takes the fd of type h that the reply consists of, as one's own. */
int message_take_fd(sd_bus_message *reply, int *ret);
