/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which polkit action each method needs: one table (access.c), which every dispatch goes through and a test compares
 * with the vtables. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct Manager Manager;
typedef struct Vm Vm;

#define ACTION_MANAGE "org.hero.compute.manage"
#define ACTION_MANAGE_OWN "org.hero.compute.manage-own"
#define ACTION_ACCESS "org.hero.compute.access"
#define ACTION_ACCESS_OWN "org.hero.compute.access-own"
#define ACTION_INSPECT "org.hero.compute.inspect"

typedef struct MethodAccess {
        const char *interface; /* last part: "Manager", "VM", … */
        const char *member;
        const char *action, *own_action;
        bool changes; /* something: it is told about, see shared/audit-calls.h */
} MethodAccess;

const MethodAccess *access_find(const char *interface, const char *member);
const MethodAccess *access_table(size_t *ret_n);

/* As polkit_check(). owner: login name of whose VM it is; admin: the call asks for what only administrators may, so
 * owning is not enough. An interface.member without an entry is refused. The dispatcher has audit_answered() told of the end. */
int access_check(Manager *m, sd_bus_message *call, const char *interface, const char *vm, const char *owner, bool admin,
                 sd_bus_error *error);
