/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/access.h"

#include "basic/string-util.h"
#include "compute/manager.h"

#define MANAGE ACTION_MANAGE, ACTION_MANAGE_OWN
#define ACCESS ACTION_ACCESS, ACTION_ACCESS_OWN
#define INSPECT ACTION_INSPECT, NULL

static const MethodAccess table[] = {
        { "Manager", "CreateVM", MANAGE },
        { "Manager", "ProvisionUser", MANAGE },
        { "Manager", "DeprovisionUser", MANAGE },
        { "Manager", "StartUser", MANAGE },
        { "Manager", "StopUser", MANAGE },
        { "Manager", "GetVM", INSPECT },
        { "Manager", "GetVMByPID", INSPECT },
        { "Manager", "GetUserByAddress", INSPECT },
        { "Manager", "GetUser", INSPECT },
        { "Manager", "ListVMs", INSPECT },
        { "Manager", "ListUsers", INSPECT },
        { "Manager", "ListJobs", INSPECT },
        { "Manager", "ListImageUses", INSPECT },
        { "Manager", "EventsSince", INSPECT },
        { "Manager", "Diagnose", INSPECT },
        { "VM", "Start", MANAGE },
        { "VM", "Stop", MANAGE },
        { "VM", "Restart", MANAGE },
        { "VM", "Suspend", MANAGE },
        { "VM", "Hibernate", MANAGE },
        { "VM", "Resume", MANAGE },
        { "VM", "Delete", MANAGE },
        { "VM", "Touch", MANAGE },
        { "VM", "Hold", MANAGE },
        { "VM", "SetIdlePolicy", MANAGE },
        { "VM", "SetResources", MANAGE },
        { "VM", "OpenConsole", ACCESS },
        { "VM", "Exec", ACCESS },
        { "VM", "Logs", ACCESS },
        { "VM", "Wait", INSPECT },
        { "VM", "GetTransitions", INSPECT },
        { "User", "Start", MANAGE },
        { "User", "Stop", MANAGE },
        { "User", "Deprovision", MANAGE },
        { "Job", "Cancel", MANAGE },
};

const MethodAccess *access_table(size_t *ret_n) {
        *ret_n = ELEMENTSOF(table);
        return table;
}

const MethodAccess *access_find(const char *interface, const char *member) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].interface, interface) && streq(table[i].member, member))
                        return table + i;
        return NULL;
}

int access_check(Manager *m, sd_bus_message *call, const char *interface, const char *vm, const char *owner, bool admin,
                 sd_bus_error *error) {
        const MethodAccess *a = access_find(interface, sd_bus_message_get_member(call));

        if (!a)
                return -EACCES;
        return polkit_check(m->polkit, call,
                            &(PolkitQuestion) {
                                    .action = a->action,
                                    .own_action = admin ? NULL : a->own_action,
                                    .owner = owner,
                                    .vm = vm,
                                    .user = owner,
                                    .verb = a->member,
                            },
                            error);
}
