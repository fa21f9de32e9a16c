/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The words every user of sd-bus and sd-event here needs: names of the other side, cleanup, small helpers. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"

#define COMPUTE_BUS_NAME "org.hero.Compute"
#define COMPUTE_OBJECT "/org/hero/Compute"
#define COMPUTE_MANAGER_INTERFACE "org.hero.Compute.Manager"
#define COMPUTE_VM_INTERFACE "org.hero.Compute.VM"
#define COMPUTE_USER_INTERFACE "org.hero.Compute.User"
#define COMPUTE_JOB_INTERFACE "org.hero.Compute.Job"
#define COMPUTE_VM_PREFIX "/org/hero/Compute/vm"
#define COMPUTE_USER_PREFIX "/org/hero/Compute/user"
#define COMPUTE_JOB_PREFIX "/org/hero/Compute/job"
#define IMAGES_BUS_NAME "org.hero.Compute.Images"
#define IMAGES_OBJECT "/org/hero/Compute/Images"
#define IMAGES_INTERFACE "org.hero.Compute.Images"
#define IMAGE_INTERFACE "org.hero.Compute.Image"
#define IMAGE_JOB_INTERFACE "org.hero.Compute.ImageJob"
#define IMAGE_PREFIX "/org/hero/Compute/Images/image"
#define IMAGE_JOB_PREFIX "/org/hero/Compute/Images/job"
#define METRICS_BUS_NAME "org.hero.Compute.Metrics"
#define METRICS_OBJECT "/org/hero/Compute/Metrics"
#define METRICS_INTERFACE "org.hero.Compute.Metrics"

#define SYSTEMD_BUS_NAME "org.freedesktop.systemd1"
#define SYSTEMD_OBJECT "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER_INTERFACE "org.freedesktop.systemd1.Manager"

#define _cleanup_bus_ _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_bus_error_ _cleanup_(sd_bus_error_free)
#define _cleanup_event_ _cleanup_(sd_event_unrefp)
#define _cleanup_event_source_ _cleanup_(sd_event_source_disable_unrefp)

/* Puts the call of a handler that was answered later back into its queue, as sd_bus_reply_method_errorf() but
 * from an errno and an optional sentence. Never fails: what cannot be sent is dropped. */
void bus_reply_error(sd_bus_message *call, int error, const char *text);

/* Sends a method call without waiting for its answer; callback may be NULL. Types and values as
 * sd_bus_message_append(). */
int bus_call_async(sd_bus *bus, sd_bus_slot **ret_slot, const char *destination, const char *path,
                   const char *interface, const char *member, sd_bus_message_handler_t callback, void *userdata,
                   const char *types, ...);

/* Reads one string from the variant of an a{sv}, after checking its type: InvalidArgument in error if not. */
int bus_read_variant(sd_bus_message *m, const char *key, const char *type, void *ret, sd_bus_error *error);

/* sd_bus_message_read_strv() for what anybody may send: of at most max entries, else -E2BIG, and in a time that grows with
 * their number and not with its square. *ret must be NULL. */
int bus_read_strv(sd_bus_message *m, size_t max, char ***ret);
