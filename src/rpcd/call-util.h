/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What handlers of methods have in common. */

#include "rpcd/call.h"
#include "rpcd/replica.h"

/* call_bus_error() of a name of error-names.h, or of the bus, and a sentence. */
void call_refuse(Call *c, const char *error_name, const char *format, ...) _printf_(3, 4);

/* Administrators, and whose VM it is. */
bool caller_may_vm(const Caller *caller, const ReplicaVm *vm);
/* Whether two calls are of one and the same. */
bool caller_is_same(const Caller *a, const Caller *b);

/* A new JSON string "YYYY-MM-DDTHH:MM:SSZ", null for 0. */
json_t *json_timestamp(uint64_t realtime_usec);
/* An array of strings (or NULL: none) as a new strv. 0 or -ENOMEM. */
int json_to_strv(const json_t *array, char ***ret);
