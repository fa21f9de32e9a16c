/* SPDX-License-Identifier: Apache-2.0 */

/* org.hero.Compute.User, documented in dbus/org.hero.Compute.User.xml: a user is whoever has a VM, so there is nothing
 * to keep about one beyond the VM. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/access.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "shared/bus-util.h"

static int user_dispatch(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(message);
        Job *j = NULL;
        int r;

        r = access_check(vm->manager, message, "User", vm->name, vm->spec.user, false, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;
        if (streq(member, "Start"))
                r = request_wake(vm, &j, error);
        else if (streq(member, "Stop"))
                r = request_suspend(vm, &j, error);
        else
                r = request_delete(vm, false, JOB_DELETE, &j, error);
        return r < 0 ? r : job_reply(j, message, false);
}

static int user_method(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Vm *vm = userdata;
        Audit *audit = vm->manager->audit;

        return audit_answered(audit, message, user_dispatch(message, vm, error), error);
}

static int get_id(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                  void *userdata, sd_bus_error *error) {
        const Vm *vm = userdata;

        return sd_bus_message_append(reply, "s", vm->spec.user);
}

static int get_vm(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                  void *userdata, sd_bus_error *error) {
        const Vm *vm = userdata;

        return sd_bus_message_append(reply, "(so)", vm->name, vm->path);
}

static const sd_bus_vtable user_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_NO_ARGS, SD_BUS_RESULT("o", job), user_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_NO_ARGS, SD_BUS_RESULT("o", job), user_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Deprovision", SD_BUS_NO_ARGS, SD_BUS_RESULT("o", job), user_method,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "s", get_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("VM", "(so)", get_vm, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

static int user_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                     sd_bus_error *error) {
        _cleanup_free_ char *user = NULL;
        Vm *vm;
        int r;

        r = sd_bus_path_decode(path, COMPUTE_USER_PREFIX, &user);
        if (r <= 0)
                return r;
        vm = manager_find_vm_by_user(userdata, user);
        if (!vm)
                return 0;
        *ret_found = vm;
        return 1;
}

static int user_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        _cleanup_strv_free_ char **l = NULL;
        Manager *m = userdata;
        Vm *vm, *next;
        size_t n = 0;

        l = new0(char *, HASH_CNT(hh_user, m->vms_by_user) + 1);
        if (!l)
                return -ENOMEM;
        HASH_ITER(hh_user, m->vms_by_user, vm, next)
                if (sd_bus_path_encode(COMPUTE_USER_PREFIX, vm->spec.user, &l[n++]) < 0)
                        return -ENOMEM;
        *ret_nodes = TAKE_PTR(l);
        return 1;
}

static void emit(Vm *vm, int (*f)(sd_bus *bus, const char *path)) {
        _cleanup_free_ char *path = NULL;

        if (vm->manager->serving && sd_bus_path_encode(COMPUTE_USER_PREFIX, vm->spec.user, &path) >= 0)
                (void) f(vm->manager->bus, path);
}

void user_emit_added(Vm *vm) {
        emit(vm, sd_bus_emit_object_added);
}

void user_emit_removed(Vm *vm) {
        emit(vm, sd_bus_emit_object_removed);
}

int user_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, COMPUTE_USER_PREFIX, COMPUTE_USER_INTERFACE, user_vtable, user_find, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, COMPUTE_USER_PREFIX, user_enumerate, m);
}

const sd_bus_vtable *user_bus_vtable(void) {
        return user_vtable;
}
