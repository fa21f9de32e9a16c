/* SPDX-License-Identifier: Apache-2.0 */

/* org.hero.Compute.Manager, documented in dbus/org.hero.Compute.Manager.xml. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/access.h"
#include "compute/diagnose.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "compute/vm-awake.h"
#include "compute/scope.h"
#include "compute/vm-record.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define EVENTS_PER_CALL 1000u

static int create_vm(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_(vm_spec_done) VmSpec spec = {};
        const char *name;
        Job *j;
        Vm *vm;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = vm_spec_read(message, VM_SPEC_CREATE, &spec, error);
        if (r < 0)
                return r;
        r = vm_spec_needs_admin(&spec, &m->config, error);
        if (r >= 0)
                r = access_check(m, message, "Manager", name, spec.user, r > 0, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = request_create(m, name, &spec, &vm, &j, error);
        return r < 0 ? r : job_reply(j, message, true);
}

static int method_create_vm(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return audit_answered(m->audit, message, create_vm(message, m, error), error);
}

static int provision_awake(sd_bus_message *message, Vm *vm, sd_bus_error *error);

static int provision_user(sd_bus_message *message, Manager *m, bool allowed, sd_bus_error *error) {
        _cleanup_(vm_spec_done) VmSpec spec = {};
        const char *user;
        Job *j;
        Vm *vm;
        int r;

        r = sd_bus_message_read(message, "s", &user);
        if (r >= 0)
                r = vm_spec_read(message, VM_SPEC_PROVISION, &spec, error);
        if (r < 0)
                return r;
        r = vm_spec_needs_admin(&spec, &m->config, error);
        if (r >= 0)
                r = allowed ? 1 : access_check(m, message, "Manager", spec.name, user, r > 0, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        vm = manager_find_vm_by_user(m, user);
        if (vm && vm_awake_is_needed(vm)) {
                r = vm_awake_for_call(vm, message, provision_awake, error);
                if (r <= 0)
                        return r < 0 ? r : 1;
        }
        r = request_provision(m, user, &spec, &vm, &j, error);
        return r < 0 ? r : job_reply(j, message, true);
}

/* It had waited for the VM, and may have asked for a password before that. */
static int provision_awake(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        return provision_user(message, vm->manager, true, error);
}

static int method_provision_user(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return audit_answered(m->audit, message, provision_user(message, m, false, error), error);
}

static int no_such_user(const char *user, sd_bus_error *error) {
        return sd_bus_error_setf(error, ERROR_NO_SUCH_USER, "User '%s' has no VM. Provision one first.", user);
}

static int start_user(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        Job *j;
        int r;

        if (vm_awake_is_needed(vm)) {
                r = vm_awake_for_call(vm, message, start_user, error);
                if (r <= 0)
                        return r < 0 ? r : 1;
        }
        r = request_wake(vm, &j, error);
        return r < 0 ? r : job_reply(j, message, false);
}

static int user_dispatch(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(message), *user;
        Job *j = NULL;
        Vm *vm;
        int r;

        r = sd_bus_message_read(message, "s", &user);
        if (r < 0)
                return r;
        vm = manager_find_vm_by_user(m, user);
        /* Whether somebody has a VM is only told to who may know. */
        r = access_check(m, message, "Manager", vm ? vm->name : NULL, user, false, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        if (!vm)
                return no_such_user(user, error);
        if (streq(member, "StartUser"))
                return start_user(message, vm, error);
        if (streq(member, "StopUser"))
                r = request_suspend(vm, &j, error);
        else
                r = request_delete(vm, false, JOB_DELETE, &j, error);
        return r < 0 ? r : job_reply(j, message, false);
}

static int method_user(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        return audit_answered(m->audit, message, user_dispatch(message, m, error), error);
}

static int method_get_vm(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        const char *name;
        Vm *vm;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = manager_resolve_vm(m, name, &vm, error);
        return r < 0 ? r : sd_bus_reply_method_return(message, "o", vm->path);
}

static int method_get_vm_by_pid(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_free_ char *name = NULL;
        uint32_t pid;
        Vm *vm;
        int r;

        r = sd_bus_message_read(message, "u", &pid);
        if (r < 0)
                return r;
        if (pid == 0 || pid > INT32_MAX)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "%u is not a process id.", pid);
        name = scope_vm_of_pid((pid_t) pid);
        vm = name ? manager_find_vm(m, name) : NULL;
        if (!vm)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_VM, "Process %u belongs to no VM.", pid);
        return sd_bus_reply_method_return(message, "o", vm->path);
}

static int method_get_user(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_free_ char *path = NULL;
        const char *user;
        int r;

        r = sd_bus_message_read(message, "s", &user);
        if (r < 0)
                return r;
        if (!manager_find_vm_by_user(m, user))
                return no_such_user(user, error);
        r = sd_bus_path_encode(COMPUTE_USER_PREFIX, user, &path);
        return r < 0 ? r : sd_bus_reply_method_return(message, "o", path);
}

static int by_name(Vm *a, Vm *b) {
        return strcmp(a->name, b->name);
}

static int by_user(Vm *a, Vm *b) {
        return strcmp(a->spec.user, b->spec.user);
}

static int method_list_vms(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Vm *vm, *next;
        int r;

        HASH_SRT(hh_name, m->vms_by_name, by_name);
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssssuto)");
        HASH_ITER(hh_name, m->vms_by_name, vm, next) {
                if (r < 0)
                        break;
                r = sd_bus_message_append(reply, "(ssssuto)", vm->name, strempty(vm->spec.user),
                                          vm_state_to_string(vm->state), vm->spec.image, (uint32_t) vm->spec.cpus,
                                          vm->spec.memory, vm->path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_list_users(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Vm *vm, *next;
        int r;

        HASH_SRT(hh_user, m->vms_by_user, by_user);
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssso)");
        HASH_ITER(hh_user, m->vms_by_user, vm, next) {
                _cleanup_free_ char *path = NULL;

                if (r >= 0)
                        r = sd_bus_path_encode(COMPUTE_USER_PREFIX, vm->spec.user, &path);
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(ssso)", vm->spec.user, vm->name, vm_state_to_string(vm->state),
                                                  path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_list_jobs(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Job *j, *next;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ussso)");
        HASH_ITER(hh, m->jobs, j, next)
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(ussso)", j->id, j->vm_name, job_type_to_string(j->type),
                                                  strempty(j->word), j->path);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_get_user_by_address(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        const char *text;
        Address a;
        Vm *vm;
        int r;

        r = sd_bus_message_read(message, "s", &text);
        if (r < 0)
                return r;
        if (address_parse(text, &a) < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "'%s' is not an IP address.", text);
        vm = network_find_vm(m, &a);
        if (!vm)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_USER, "%s is no VM's address.", text);
        return sd_bus_reply_method_return(message, "sso", strempty(vm->spec.user), vm->name, vm->path);
}

static int append_quarantined_use(sd_bus_message *reply, Manager *m, const char *name) {
        _cleanup_free_ char *image = NULL, *digest = NULL;

        if (!vm_record_read_image(m, name, &image, &digest))
                return 0;
        return sd_bus_message_append(reply, "(sss)", name, strempty(image), strempty(digest));
}

/* What hero-imaged must keep. Who quarantined VMs are made of is read at every call: somebody may be mending them. */
static int method_list_image_uses(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Vm *vm, *next;
        int r;

        /* What no VM uses may be gone when this has been read: a VM made from now on must not get it out of our cache. */
        resources_forget_images(m);
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sss)");
        HASH_ITER(hh_name, m->vms_by_name, vm, next)
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(sss)", vm->name, vm->spec.image, strempty(vm->image_digest));
        for (size_t i = 0; r >= 0 && i < m->n_quarantined; i++)
                r = append_quarantined_use(reply, m, m->quarantined[i].name);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* Every number was given out once. */
static uint64_t events_lost(const Manager *m, uint64_t since) {
        uint64_t all = m->next_sequence - 1 - since, known = 0;

        for (unsigned i = 0; i < m->events.n; i++)
                known += event_ring_get(&m->events, i)->sequence > since;
        return all > known ? all - known : 0;
}

static int method_events_since(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        uint64_t since, next, lost;
        const EventRing *ring = &m->events;
        const char *name;
        unsigned n = 0;
        int r;

        r = sd_bus_message_read(message, "ts", &since, &name);
        if (r < 0)
                return r;
        if (!isempty(name)) {
                Vm *vm;

                r = manager_resolve_vm(m, name, &vm, error);
                if (r < 0)
                        return r;
                name = vm->name;
                ring = &vm->events;
        }
        if (since >= m->next_sequence)
                since = 0; /* from before a restart, when VMs with higher numbers were there */
        lost = since > 0 && isempty(name) ? events_lost(m, since) : 0;
        next = m->next_sequence - 1;
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ttssss)");
        for (unsigned i = 0; r >= 0 && i < ring->n; i++) {
                const Event *e = event_ring_get(ring, i);

                if (e->sequence <= since)
                        continue;
                if (n++ >= EVENTS_PER_CALL)
                        break;
                if (n == EVENTS_PER_CALL)
                        next = e->sequence;
                r = sd_bus_message_append(reply, "(ttssss)", e->sequence, e->timestamp, e->vm, vm_state_to_string(e->from),
                                          vm_state_to_string(e->to), e->reason);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "tt", next, lost);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_diagnose(sd_bus_message *message, Manager *m, sd_bus_error *error) {
        return diagnose(m, message);
}

static const struct {
        const char *member;
        int (*handler)(sd_bus_message *message, Manager *m, sd_bus_error *error);
} readers[] = {
        { "GetVM", method_get_vm },
        { "GetVMByPID", method_get_vm_by_pid },
        { "GetUserByAddress", method_get_user_by_address },
        { "GetUser", method_get_user },
        { "ListVMs", method_list_vms },
        { "ListUsers", method_list_users },
        { "ListJobs", method_list_jobs },
        { "ListImageUses", method_list_image_uses },
        { "EventsSince", method_events_since },
        { "Diagnose", method_diagnose },
};

/* The one way into the methods that only tell. */
static int method_read(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;
        int r;

        r = access_check(m, message, "Manager", NULL, NULL, false, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        for (size_t i = 0; i < ELEMENTSOF(readers); i++)
                if (streq(readers[i].member, sd_bus_message_get_member(message)))
                        return readers[i].handler(message, m, error);
        return -EBADRQC;
}

#define GETTER(name, type, expression)                                                                        \
        static int get_##name(sd_bus *bus, const char *path, const char *interface, const char *property,     \
                              sd_bus_message *reply, void *userdata, sd_bus_error *error) {                   \
                const Manager *m = userdata;                                                                  \
                return sd_bus_message_append(reply, type, expression);                                        \
        }                                                                                                     \
        struct __useless_struct_to_allow_trailing_semicolon__

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                       void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", HERO_VERSION);
}

GETTER(hypervisor, "s", m->config.hypervisor);
GETTER(accelerator, "s",
       accelerator_to_string(m->resources.accelerator != ACCELERATOR_AUTO ? m->resources.accelerator :
                                                                            m->config.accelerator));
GETTER(default_image, "s", m->config.image);

GETTER(subnet_source, "s", strempty(m->network.source));

static int append_subnet(sd_bus_message *reply, const Subnet *s) {
        char buf[SUBNET_STRING_MAX];

        return sd_bus_message_append(reply, "s", s->address.family ? subnet_format(buf, s) : "");
}

static int get_subnet(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                      void *userdata, sd_bus_error *error) {
        return append_subnet(reply, &((const Manager *) userdata)->network.subnet);
}

static int get_ipv4_pool(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                         void *userdata, sd_bus_error *error) {
        return append_subnet(reply, &((const Manager *) userdata)->network.pool_subnet);
}

static int get_quarantined(sd_bus *bus, const char *path, const char *interface, const char *property,
                           sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const Manager *m = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(ss)");
        for (size_t i = 0; r >= 0 && i < m->n_quarantined; i++)
                r = sd_bus_message_append(reply, "(ss)", m->quarantined[i].name, m->quarantined[i].why);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define UNPRIVILEGED SD_BUS_VTABLE_UNPRIVILEGED
#define NUMBER(name, type, field) SD_BUS_PROPERTY(name, type, NULL, offsetof(Manager, field), 0)

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("CreateVM", SD_BUS_ARGS("s", name, "a{sv}", spec),
                                SD_BUS_RESULT("o", vm, "o", job), method_create_vm, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ProvisionUser", SD_BUS_ARGS("s", user, "a{sv}", spec),
                                SD_BUS_RESULT("o", vm, "o", job), method_provision_user, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DeprovisionUser", SD_BUS_ARGS("s", user),
                                SD_BUS_RESULT("o", job), method_user, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("StartUser", SD_BUS_ARGS("s", user),
                                SD_BUS_RESULT("o", job), method_user, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("StopUser", SD_BUS_ARGS("s", user),
                                SD_BUS_RESULT("o", job), method_user, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetVM", SD_BUS_ARGS("s", name),
                                SD_BUS_RESULT("o", vm), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetVMByPID", SD_BUS_ARGS("u", pid),
                                SD_BUS_RESULT("o", vm), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetUserByAddress", SD_BUS_ARGS("s", address),
                                SD_BUS_RESULT("s", user, "s", vm, "o", vm_path), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetUser", SD_BUS_ARGS("s", user),
                                SD_BUS_RESULT("o", object), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListVMs", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(ssssuto)", vms), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListUsers", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(ssso)", users), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(ussso)", jobs), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListImageUses", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(sss)", uses), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("EventsSince", SD_BUS_ARGS("t", since, "s", vm),
                                SD_BUS_RESULT("a(ttssss)", events, "t", next, "t", lost), method_read, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Diagnose", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(sss)", checks), method_read, UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("VMNew", SD_BUS_ARGS("s", name, "o", vm), 0),
        SD_BUS_SIGNAL_WITH_ARGS("VMRemoved", SD_BUS_ARGS("s", name, "o", vm), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Transition",
                                SD_BUS_ARGS("t", sequence, "t", timestamp, "s", vm, "s", from, "s", to, "s", reason), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("u", id, "o", job, "s", vm), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("u", id, "o", job, "s", vm, "s", result, "s", message), 0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Hypervisor", "s", get_hypervisor, 0, 0),
        SD_BUS_PROPERTY("Accelerator", "s", get_accelerator, 0, 0),
        SD_BUS_PROPERTY("DefaultImage", "s", get_default_image, 0, 0),
        NUMBER("CPUsTotal", "u", capacity.cpus_total),
        NUMBER("CPUsReserved", "u", capacity.cpus_reserved),
        NUMBER("MemoryTotal", "t", capacity.memory_total),
        NUMBER("MemoryReserved", "t", capacity.memory_reserved),
        NUMBER("DiskTotal", "t", capacity.disk_total),
        NUMBER("DiskReserved", "t", capacity.disk_reserved),
        NUMBER("NVMs", "u", n_vms),
        SD_BUS_PROPERTY("Subnet", "s", get_subnet, 0, 0),
        SD_BUS_PROPERTY("SubnetSource", "s", get_subnet_source, 0, 0),
        SD_BUS_PROPERTY("IPv4Pool", "s", get_ipv4_pool, 0, 0),
        SD_BUS_PROPERTY("Quarantined", "a(ss)", get_quarantined, 0, 0),
        SD_BUS_VTABLE_END,
};

int manager_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_object_manager(m->bus, NULL, COMPUTE_OBJECT);
        if (r < 0)
                return r;
        return sd_bus_add_object_vtable(m->bus, NULL, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE, manager_vtable, m);
}

const sd_bus_vtable *manager_bus_vtable(void) {
        return manager_vtable;
}
