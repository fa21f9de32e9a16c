/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/replica.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/jobs.h"
#include "rpcd/rpc.h"
#include "rpcd/vm-model.h"
#include "shared/bus-util.h"
#include "shared/log.h"
#include "shared/object-mirror.h"

struct Replica {
        Rpcd *rpcd;
        ObjectMirror *mirror;
        ReplicaVm *by_path, *by_id, *by_name, *by_user;
        ReplicaVm **sorted; /* by name; NULL: to be made again */
        bool ready;
};

typedef enum FieldType {
        FIELD_STRING,
        FIELD_UINT32,
        FIELD_UINT64,
} FieldType;

#define FIELD(name, kind, member) { name, kind, offsetof(ReplicaVm, member) }
static const struct {
        const char *property;
        FieldType type;
        size_t offset;
} fields[] = {
        FIELD("Id", FIELD_STRING, id),
        FIELD("Name", FIELD_STRING, name),
        FIELD("User", FIELD_STRING, user),
        FIELD("State", FIELD_STRING, state),
        FIELD("StateReason", FIELD_STRING, state_reason),
        FIELD("Image", FIELD_STRING, image),
        FIELD("MyceliumIP", FIELD_STRING, mycelium_ip),
        FIELD("IPAddress", FIELD_STRING, ip_address),
        FIELD("TAPDevice", FIELD_STRING, tap_device),
        FIELD("Unit", FIELD_STRING, unit),
        FIELD("CPUs", FIELD_UINT32, cpus),
        FIELD("PID", FIELD_UINT32, pid),
        FIELD("Memory", FIELD_UINT64, memory),
        FIELD("Disk", FIELD_UINT64, disk),
        FIELD("CreatedTimestamp", FIELD_UINT64, created),
        FIELD("StartedTimestamp", FIELD_UINT64, started),
        FIELD("StoppedTimestamp", FIELD_UINT64, stopped),
        FIELD("LastActivityTimestamp", FIELD_UINT64, last_activity),
};

static void forget_texts(ReplicaVm *vm) {
        vm->vm_json = mfree(vm->vm_json);
        vm->user_json = mfree(vm->user_json);
        vm->vm_json_size = vm->user_json_size = 0;
}

static void vm_free(Replica *r, ReplicaVm *vm) {
        if (vm->hh_path.tbl)
                HASH_DELETE(hh_path, r->by_path, vm);
        if (vm->hh_id.tbl) {
                HASH_DELETE(hh_id, r->by_id, vm);
                HASH_DELETE(hh_name, r->by_name, vm);
        }
        if (vm->hh_user.tbl)
                HASH_DELETE(hh_user, r->by_user, vm);
        r->sorted = mfree(r->sorted);
        forget_texts(vm);
        for (unsigned i = 0; i < ELEMENTSOF(fields); i++)
                if (fields[i].type == FIELD_STRING)
                        free(*(char **) ((char *) vm + fields[i].offset));
        free(vm->path);
        free(vm);
}

static int read_field(ReplicaVm *vm, unsigned i, sd_bus_message *m) {
        void *p = (char *) vm + fields[i].offset;
        const char *s;
        int r;

        switch (fields[i].type) {
        case FIELD_STRING:
                r = sd_bus_message_read(m, "v", "s", &s);
                return r < 0 ? r : free_and_strdup(p, s);
        case FIELD_UINT32:
                return sd_bus_message_read(m, "v", "u", p);
        case FIELD_UINT64:
                return sd_bus_message_read(m, "v", "t", p);
        }
        return -EINVAL;
}

static int read_property(ReplicaVm *vm, sd_bus_message *m) {
        const char *name;
        int r;

        r = sd_bus_message_read_basic(m, 's', &name);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < ELEMENTSOF(fields); i++)
                if (streq(fields[i].property, name))
                        return read_field(vm, i, m);
        return sd_bus_message_skip(m, "v");
}

static int read_properties(ReplicaVm *vm, sd_bus_message *m) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_property(vm, m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* What never changes is what it is found by. */
static void vm_enlist(Replica *r, ReplicaVm *vm) {
        HASH_ADD_KEYPTR(hh_id, r->by_id, vm->id, strlen(vm->id), vm);
        HASH_ADD_KEYPTR(hh_name, r->by_name, vm->name, strlen(vm->name), vm);
        if (!isempty(vm->user))
                HASH_ADD_KEYPTR(hh_user, r->by_user, vm->user, strlen(vm->user), vm);
        r->sorted = mfree(r->sorted);
}

static int on_properties(const char *path, const char *interface, sd_bus_message *m, void *userdata) {
        Replica *r = userdata;
        ReplicaVm *vm;
        int q;

        if (!streq(interface, COMPUTE_VM_INTERFACE))
                return sd_bus_message_skip(m, "a{sv}");
        vm = replica_find_path(r, path);
        if (!vm) {
                vm = new0(ReplicaVm, 1);
                if (!vm)
                        return -ENOMEM;
                vm->path = strdup(path);
                if (!vm->path) {
                        free(vm);
                        return -ENOMEM;
                }
                HASH_ADD_KEYPTR(hh_path, r->by_path, vm->path, strlen(vm->path), vm);
        }
        q = read_properties(vm, m);
        forget_texts(vm);
        if (q >= 0 && (!vm->id || !vm->name || !vm->state))
                q = -EBADMSG;
        if (q >= 0 && !vm->hh_id.tbl)
                vm_enlist(r, vm);
        if (q < 0)
                vm_free(r, vm);
        return q;
}

static void on_removed(const char *path, const char *interface, void *userdata) {
        Replica *r = userdata;
        ReplicaVm *vm = replica_find_path(r, path);

        if (vm && streq(interface, COMPUTE_VM_INTERFACE))
                vm_free(r, vm);
}

static void forget_all(Replica *r) {
        ReplicaVm *vm, *tmp;

        HASH_ITER(hh_path, r->by_path, vm, tmp)
                vm_free(r, vm);
}

static void on_synced(void *userdata) {
        Replica *r = userdata;

        r->ready = true;
        log_debug("hero-computed has %u VMs.", replica_n_vms(r));
        rpc_ready(r->rpcd);
}

static void on_lost(void *userdata) {
        Replica *r = userdata;

        r->ready = false;
        forget_all(r);
        jobs_lost(r->rpcd->jobs);
}

static const ObjectMirrorHandlers handlers = {
        .properties = on_properties,
        .removed = on_removed,
        .synced = on_synced,
        .lost = on_lost,
};

int replica_new(Rpcd *d, Replica **ret) {
        Replica *r;
        int q;

        r = new0(Replica, 1);
        if (!r)
                return -ENOMEM;
        r->rpcd = d;
        q = object_mirror_new(d->bus, COMPUTE_BUS_NAME, COMPUTE_OBJECT, &handlers, r, &r->mirror);
        if (q < 0) {
                free(r);
                return q;
        }
        *ret = r;
        return 0;
}

Replica *replica_free(Replica *r) {
        if (!r)
                return NULL;
        object_mirror_free(r->mirror);
        forget_all(r);
        free(r->sorted); /* of no VMs there is a list, too */
        return mfree(r);
}

bool replica_is_ready(const Replica *r) {
        return r->ready;
}

void replica_need(Replica *r) {
        object_mirror_need(r->mirror);
}

unsigned replica_n_vms(const Replica *r) {
        return (unsigned) HASH_CNT(hh_path, r->by_path);
}

ReplicaVm *replica_find(const Replica *r, const char *id_or_name) {
        size_t n = strlen(id_or_name);
        ReplicaVm *vm;

        HASH_FIND(hh_id, r->by_id, id_or_name, n, vm);
        if (!vm)
                HASH_FIND(hh_name, r->by_name, id_or_name, n, vm);
        return vm;
}

ReplicaVm *replica_find_user(const Replica *r, const char *user) {
        ReplicaVm *vm;

        HASH_FIND(hh_user, r->by_user, user, strlen(user), vm);
        return vm;
}

ReplicaVm *replica_find_path(const Replica *r, const char *path) {
        ReplicaVm *vm;

        HASH_FIND(hh_path, r->by_path, path, strlen(path), vm);
        return vm;
}

static const char *make_text(void (*write)(JsonText *t, const ReplicaVm *vm), const ReplicaVm *vm, char **text, size_t *size) {
        JsonText t = {};

        if (!*text) {
                write(&t, vm);
                *text = json_text_take(&t, size);
        }
        return *text;
}

const char *replica_vm_json(ReplicaVm *vm, size_t *ret_size) {
        const char *s = make_text(vm_model_vm, vm, &vm->vm_json, &vm->vm_json_size);

        *ret_size = vm->vm_json_size;
        return s;
}

const char *replica_user_json(ReplicaVm *vm, size_t *ret_size) {
        const char *s = make_text(vm_model_user_vm, vm, &vm->user_json, &vm->user_json_size);

        *ret_size = vm->user_json_size;
        return s;
}

static int compare_names(const void *a, const void *b) {
        return strcmp((*(ReplicaVm *const *) a)->name, (*(ReplicaVm *const *) b)->name);
}

static int sort(Replica *r) {
        unsigned n = 0;

        if (r->sorted)
                return 0;
        r->sorted = new(ReplicaVm *, replica_n_vms(r) + 1);
        if (!r->sorted)
                return -ENOMEM;
        for (ReplicaVm *vm = r->by_path; vm; vm = vm->hh_path.next)
                if (vm->hh_id.tbl)
                        r->sorted[n++] = vm;
        r->sorted[n] = NULL;
        qsort(r->sorted, n, sizeof(r->sorted[0]), compare_names);
        return 0;
}

int replica_list(Replica *r, const char *user, bool users_only, char **ret, size_t *ret_size) {
        JsonText t = {};
        int q;

        q = sort(r);
        if (q < 0)
                return q;
        json_text_raw(&t, "[");
        for (ReplicaVm **i = r->sorted; *i; i++) {
                const char *s;
                size_t n;

                if ((user && !streq((*i)->user, user)) || (users_only && isempty((*i)->user)))
                        continue;
                s = users_only ? replica_user_json(*i, &n) : replica_vm_json(*i, &n);
                if (!s)
                        t.failed = true;
                else {
                        if (t.n > 1)
                                json_text_add(&t, ",", 1);
                        json_text_add(&t, s, n);
                }
        }
        json_text_raw(&t, "]");
        *ret = json_text_take(&t, ret_size);
        return *ret ? 0 : -ENOMEM;
}

void replica_count(const Replica *r, const char *folded_state, unsigned *ret) {
        *ret = 0;
        for (ReplicaVm *vm = r->by_path; vm; vm = vm->hh_path.next)
                if (vm->state && streq(vm_model_state(vm->state), folded_state))
                        (*ret)++;
}
