/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/vms.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "metricsd/cgroup-file.h"
#include "metricsd/database.h"
#include "shared/bus-util.h"
#include "shared/log.h"

const char *const vm_states[] = {
        "pending",   "provisioning", "configured", "starting", "running", "suspending",   "suspended", "hibernating",
        "hibernated", "resuming",    "stopping",   "stopped",  "start-failed", "failed", NULL,
};

static Vm *vm_free(Vm *vm) {
        if (!vm)
                return NULL;
        cgroup_close(&vm->cgroup);
        free(vm->path);
        free(vm->id);
        free(vm->name);
        free(vm->user);
        free(vm->image);
        free(vm->unit);
        free(vm->tap);
        free(vm->state);
        return mfree(vm);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Vm *, vm_free);

static int vm_new(Vms *v, const char *path, Vm **ret) {
        _cleanup_(vm_freep) Vm *vm = NULL;

        if (v->n >= VMS_MAX)
                return -E2BIG;
        vm = new0(Vm, 1);
        if (!vm)
                return -ENOMEM;
        vm->cgroup = CGROUP_NULL;
        vm->known = v->ready; /* else it may have run for long */
        counters_unknown(&vm->counters);
        vm->path = strdup(path);
        if (!vm->path)
                return -ENOMEM;
        HASH_ADD_KEYPTR(hh, v->by_path, vm->path, strlen(vm->path), vm);
        TAILQ_INSERT_TAIL(&v->list, vm, vms);
        v->n++;
        *ret = TAKE_PTR(vm);
        return 0;
}

static void forget(Vms *v, Vm *vm) {
        v->removing(vm, v->userdata);
        HASH_DEL(v->by_path, vm);
        TAILQ_REMOVE(&v->list, vm, vms);
        v->n--;
        vm_free(vm);
}

typedef struct Property {
        const char *name;
        char type;
        size_t offset;
} Property;

static const Property table[] = {
        { "Id", 's', offsetof(Vm, id) },           { "Name", 's', offsetof(Vm, name) },
        { "User", 's', offsetof(Vm, user) },       { "Image", 's', offsetof(Vm, image) },
        { "Unit", 's', offsetof(Vm, unit) },       { "TAPDevice", 's', offsetof(Vm, tap) },
        { "State", 's', offsetof(Vm, state) },     { "Memory", 't', offsetof(Vm, memory) },
        { "CPUs", 'u', offsetof(Vm, cpus) },       { "PID", 'u', offsetof(Vm, pid) },
        { "StartedTimestamp", 't', offsetof(Vm, started) },
};

static int read_value(sd_bus_message *m, const Property *p, Vm *vm) {
        const char type[] = { p->type, 0 }, *contents, *s;
        void *target = (char *) vm + p->offset;
        int r;

        r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        if (!streq(contents, type))
                return sd_bus_message_skip(m, "v");
        if (p->type != 's')
                return sd_bus_message_read(m, "v", type, target);
        r = sd_bus_message_read(m, "v", "s", &s);
        return r < 0 ? r : free_and_strdup(target, s);
}

static const Property *find_property(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].name, name))
                        return table + i;
        return NULL;
}

static int read_vm(sd_bus_message *m, Vm *vm) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const Property *p;
                const char *name;

                r = sd_bus_message_read(m, "s", &name);
                if (r < 0)
                        return r;
                p = find_property(name);
                r = p ? read_value(m, p, vm) : sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int on_properties(const char *path, const char *interface, sd_bus_message *properties, void *userdata) {
        Vms *v = userdata;
        Vm *vm;
        int r;

        if (!streq(interface, COMPUTE_VM_INTERFACE))
                return sd_bus_message_skip(properties, "a{sv}");
        HASH_FIND_STR(v->by_path, path, vm);
        if (!vm) {
                r = vm_new(v, path, &vm);
                if (r == -E2BIG) {
                        log_warning("There are more than %u VMs, %s is not measured.", VMS_MAX, path);
                        return sd_bus_message_skip(properties, "a{sv}");
                }
                if (r < 0)
                        return r;
        }
        vm->confirmed = true;
        return read_vm(properties, vm);
}

static void on_removed(const char *path, const char *interface, void *userdata) {
        Vms *v = userdata;
        Vm *vm;

        if (!streq(interface, COMPUTE_VM_INTERFACE))
                return;
        HASH_FIND_STR(v->by_path, path, vm);
        if (vm)
                forget(v, vm);
}

static void on_lost(void *userdata) {
        Vms *v = userdata;
        Vm *vm;

        v->ready = false;
        TAILQ_FOREACH(vm, &v->list, vms)
                vm->confirmed = false;
}

static void on_synced(void *userdata) {
        Vms *v = userdata;

        for (Vm *vm = TAILQ_FIRST(&v->list), *next; vm; vm = next) {
                next = TAILQ_NEXT(vm, vms);
                if (!vm->confirmed)
                        forget(v, vm);
        }
        v->ready = true;
}

int vms_start(Vms *v, sd_bus *bus, void (*removing)(Vm *vm, void *userdata), void *userdata) {
        static const ObjectMirrorHandlers handlers = {
                .properties = on_properties,
                .removed = on_removed,
                .synced = on_synced,
                .lost = on_lost,
        };

        v->removing = removing;
        v->userdata = userdata;
        return object_mirror_new(bus, COMPUTE_BUS_NAME, COMPUTE_OBJECT, &handlers, v, &v->mirror);
}

void vms_done(Vms *v) {
        object_mirror_free(v->mirror);
        for (Vm *vm; (vm = TAILQ_FIRST(&v->list));)
                forget(v, vm);
}

Vm *vms_find(const Vms *v, const char *text) {
        Vm *vm, *named = NULL;

        TAILQ_FOREACH(vm, &v->list, vms) {
                if (streq_ptr(vm->id, text))
                        return vm;
                if (streq_ptr(vm->name, text))
                        named = vm;
        }
        return named;
}
