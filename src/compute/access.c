/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/access.h"

#include "basic/string-util.h"
#include "compute/manager.h"

#define MANAGE ACTION_MANAGE, ACTION_MANAGE_OWN, true
#define ACCESS ACTION_ACCESS, ACTION_ACCESS_OWN, true
#define READ ACTION_ACCESS, ACTION_ACCESS_OWN, false
#define INSPECT ACTION_INSPECT, NULL, false

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
        { "VM", "Logs", READ },
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
        int r;

        if (!a)
                return -EACCES;
        r = polkit_check(m->polkit, call,
                         &(PolkitQuestion) {
                                 .action = a->action,
                                 .own_action = admin ? NULL : a->own_action,
                                 .owner = owner,
                                 .vm = vm,
                                 .user = owner,
                                 .verb = a->member,
                         },
                         error);
        if (!a->changes)
                return r;
        return audit_authorised(m->audit, call,
                                &(AuditWhat) { .interface = interface, .member = a->member, .vm = vm, .user = owner }, r, error);
}
