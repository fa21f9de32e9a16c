/* SPDX-License-Identifier: Apache-2.0 */

/* For every record: is there a scope with the recorded process in it?
 *
 *   there, sockets came back   → adopted as it was: running, suspended, or still starting
 *   there, half-made           → its end is brought about, the start counts as undone
 *   not there                  → the VM ended while nobody looked, or its guest sleeps without one: adoption-asleep.c
 *   never finished creating    → it is removed
 *
 * A scope of ours without a record is an accident of a daemon killed while deleting: it is stopped. */

#include "compute/adoption.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/adoption-internal.h"
#include "compute/reconcile.h"
#include "compute/requests.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/transient.h"
#include "compute/vm-awake.h"
#include "compute/vm-exit.h"
#include "compute/vm-record.h"
#include "shared/bus-util.h"
#include "shared/catalog-ids.h"
#include "shared/log.h"

typedef struct Scope {
        UT_hash_handle hh;
        bool frozen;
        char unit[];
} Scope;

typedef struct Found {
        Vm *vm;
        VmRecordRuntime runtime;
} Found;

typedef struct Adoption {
        Manager *manager;
        FdStore *store;
        adoption_done_t done;
        Scope *scopes;
        Found *found; /* the VMs whose records could be read */
        size_t n_found, allocated_found;
} Adoption;

static void adoption_free(Adoption *a) {
        Scope *s, *next;

        HASH_ITER(hh, a->scopes, s, next) {
                HASH_DEL(a->scopes, s);
                free(s);
        }
        free(a->found);
        free(a);
}

static int adopt_runtime(Adoption *a, Vm *vm, const VmRecordRuntime *record) {
        _cleanup_free_ char *name = strprintf("vm-%s", vm->name), *cgroup = NULL;
        VmRuntime *rt;
        int r;

        rt = adoption_runtime_new(vm, record);
        if (!rt || !name)
                return -ENOMEM;
        adoption_take_channels(a->store, vm, name);
        rt->state_fd = adoption_take_state(a->store, vm);
        rt->process.pid = record->pid;
        rt->process.pidfd = pidfd_open_pid(record->pid);
        rt->scope_requested = rt->scope_up = true;
        rt->registered = vm->manager->config.register_machines; /* or so we must assume */
        rt->executed = true;
        /* Looked at after the pidfd was opened: the number cannot have gone to somebody else in between. */
        cgroup = scope_cgroup_path(vm, record->pid);
        if (rt->process.pidfd < 0 || !cgroup) {
                rt->exited = true;
                return -ESRCH;
        }
        vm_network_adopt(vm, adoption_take(a->store, name, FD_TAG_TAP));
        r = vm_watch_exit(vm);
        if (r >= 0)
                r = vm_watch_oom(vm);
        if (r < 0)
                return r;
        rt->agent_ready = vm->state != VM_STARTING && rt->agent_fd >= 0;
        rt->monitor_ready = rt->monitor_fd >= 0;
        r = vm_open_channels(vm, true);
        if (r < 0)
                return r;
        adoption_take_clients(a->store, vm);
        return 0;
}

/* The daemon died in the middle of something that had a VMM. */
static void adopt_interrupted(Vm *vm, bool frozen) {
        VmRuntime *rt = vm->runtime;

        switch (vm->state) {

        case VM_STARTING:
                if (rt->monitor && rt->agent) {
                        /* Far enough to go on: the agent is asked where it is (RESUME) and gets what it lacks. */
                        vm_start_adopted(vm);
                        return;
                }
                vm_start_fail(vm, -ECANCELED, "The start was interrupted by a restart of hero-computed.");
                break;

        case VM_HIBERNATING:
                if (adopt_is_saved(vm)) {
                        adopt_between(vm);
                        break;
                }
                vm_set_state(vm, VM_SUSPENDED, "The hibernation was interrupted by a restart of hero-computed.");
                vm_awake(vm, "its hibernation was interrupted.");
                break;

        case VM_RESUMING:
                if (adopt_is_saved(vm)) {
                        adopt_between(vm);
                        break;
                }
                vm_suspend_adopted(vm, frozen);
                break;

        case VM_SUSPENDING:
                vm_suspend_adopted(vm, frozen);
                break;

        case VM_STOPPING:
                vm_stop_adopted(vm);
                break;

        default:
                break;
        }
}

static void adopt_ended(Vm *vm) {
        (void) vm_hibernate_discard(vm); /* a guest that had gone on, or else it would have been found asleep */
        switch (vm->state) {

        case VM_STARTING:
                vm_set_state(vm, vm->before, "The start was interrupted by a restart of hero-computed.");
                break;

        case VM_STOPPING:
                vm_exit_set(vm, "stopped");
                vm_set_state(vm, VM_STOPPED, "Stopped while hero-computed was not running.");
                break;

        default:
                vm_exit_set(vm, "lost");
                vm_set_state(vm, VM_STOPPED, "The VM ended while hero-computed was not running.");
                break;
        }
}

static bool sleeps_without_vmm(const Vm *vm, const VmRecordRuntime *record, const Scope *s) {
        return vm->state == VM_HIBERNATED ||
                ((vm->state == VM_HIBERNATING || vm->state == VM_RESUMING) && (!s || record->pid <= 0));
}

static void adopt_vm(Adoption *a, Vm *vm, const VmRecordRuntime *record) {
        Scope *s;
        int r;

        capacity_force(vm, false);
        if (!vm_state_is_active(vm->state)) {
                /* Much may be here already of what it waits for; who asks again gets this job. */
                if (vm->pulling && request_go_on(vm, NULL) >= 0)
                        return;
                if (vm->state == VM_PENDING || vm->state == VM_PROVISIONING) {
                        log_full(LOG_NOTICE, 0, __FILE__, __LINE__, __func__, vm->name, vm->spec.user, CATALOG_VM_UNDONE,
                                 "The creation of VM '%s' was interrupted, removing it.", vm->name);
                        (void) vm_record_remove(vm);
                        vm_free(vm);
                }
                return;
        }
        HASH_FIND(hh, a->scopes, vm->unit, strlen(vm->unit), s);
        /* A scope without a VMM that the record knew of is nobody's, and is stopped as such. */
        if (sleeps_without_vmm(vm, record, s)) {
                r = record->present ? adopt_asleep(a->store, vm, record) : -ENODATA;
                if (r < 0 && r != -ENODATA)
                        log_vm_warning_errno(vm, r, "VM '%s' was adopted without all of its channels: %m", vm->name);
                if (r != -ENODATA)
                        return;
        }
        if (!record->present || record->pid <= 0 || !s) {
                adopt_ended(vm);
                return;
        }
        HASH_DEL(a->scopes, s);
        capacity_force(vm, true);
        r = adopt_runtime(a, vm, record);
        if (r < 0 && r != -ESRCH)
                log_vm_warning_errno(vm, r, "VM '%s' was adopted without all of its channels: %m", vm->name);
        if (r == -ESRCH) {
                if (vm->state == VM_STARTING)
                        vm->failure = -ECANCELED;
                if ((vm->state == VM_HIBERNATING || vm->state == VM_RESUMING) && adopt_is_saved(vm))
                        adopt_ended_between(a->store, vm);
                else
                        vm_check_gone(vm);
        } else {
                log_full(LOG_DEBUG, 0, __FILE__, __LINE__, __func__, vm->name, vm->spec.user, CATALOG_VM_ADOPTED,
                         "Adopted VM '%s' (%s).", vm->name, vm_state_to_string(vm->state));
                adopt_interrupted(vm, s->frozen);
        }
        free(s);
}

static int read_record(Adoption *a, const char *name) {
        _cleanup_free_ char *why = NULL;
        Found f = {};
        int r;

        if (!vm_name_is_valid(name))
                return manager_quarantine(a->manager, name, "Its directory does not have the name of a VM.");
        r = vm_record_load(a->manager, name, &f.vm, &f.runtime, &why);
        if (r == -ENODATA && vm_record_remove_empty(a->manager, name) >= 0) {
                log_notice("The creation of VM '%s' was interrupted before it began, removing it.", name);
                return 0;
        }
        if (r < 0) {
                /* A VMM that may still run keeps its uid. */
                if (f.runtime.present)
                        uid_pool_reserve(a->manager, f.runtime.uid);
                return manager_quarantine(a->manager, name, why ?: strerror(-r));
        }
        if (!GREEDY_REALLOC(a->found, a->allocated_found, a->n_found + 1))
                return log_oom();
        a->found[a->n_found++] = f;
        return 0;
}

static int read_records(Adoption *a) {
        _cleanup_closedir_ DIR *d = NULL;
        int r;

        r = open_directory_stream(a->manager->vms_fd, ".", &d);
        if (r < 0)
                return log_error_errno(r, "Cannot read " STATEDIR "/vms: %m");
        for (struct dirent *de; r >= 0 && (de = readdir(d));)
                if (de->d_name[0] != '.')
                        r = read_record(a, de->d_name);
        return r;
}

static int by_sequence(const void *a, const void *b) {
        const Event *x = *(Event *const *) a, *y = *(Event *const *) b;

        return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* The history of all VMs, out of what each one's record kept of it. Before anything new happens, whose number
 * must be above all of them. */
static int restore_events(Adoption *a) {
        _cleanup_free_ Event **all = NULL;
        size_t n = 0;

        for (size_t i = 0; i < a->n_found; i++)
                n += a->found[i].vm->events.n;
        if (n == 0)
                return 0;
        all = new(Event *, n);
        if (!all)
                return log_oom();
        n = 0;
        for (size_t i = 0; i < a->n_found; i++)
                for (unsigned k = 0; k < a->found[i].vm->events.n; k++)
                        all[n++] = event_ring_get(&a->found[i].vm->events, k);
        qsort(all, n, sizeof(*all), by_sequence);
        for (size_t i = 0; i < n; i++)
                if (event_ring_push(&a->manager->events, all[i]) < 0)
                        return log_oom();
        return 0;
}

static int adopt_records(Adoption *a) {
        int r;

        r = read_records(a);
        if (r >= 0)
                r = restore_events(a);
        for (size_t i = 0; r >= 0 && i < a->n_found; i++)
                adopt_vm(a, a->found[i].vm, &a->found[i].runtime);
        return r;
}

/* Not at once: those whose calls the former daemon has left without an answer ask again. */
static void adopt_transients(Adoption *a) {
        Vm *vm, *next;

        HASH_ITER(hh_name, a->manager->vms_by_name, vm, next)
                transient_look(vm, TRANSIENT_LINGER);
}

static void stop_orphans(Adoption *a) {
        Scope *s, *next;

        HASH_ITER(hh, a->scopes, s, next)
                reconcile_orphan(a->manager, s->unit);
}

static int read_scopes(Adoption *a, sd_bus_message *reply) {
        const char *unit, *active;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(ssssssouso)", &unit, NULL, NULL, &active, NULL, NULL, NULL, NULL, NULL,
                                        NULL)) > 0) {
                Scope *s;

                if (!streq(active, "active") && !streq(active, "activating") && !streq(active, "deactivating"))
                        continue;
                s = malloc(sizeof(Scope) + strlen(unit) + 1);
                if (!s)
                        return -ENOMEM;
                *s = (Scope) {};
                strcpy(s->unit, unit);
                HASH_ADD_STR(a->scopes, unit, s);
        }
        return r;
}

static int on_units(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Adoption *a = userdata;
        Manager *m = a->manager;
        int r;

        r = e ? -sd_bus_error_get_errno(e) : read_scopes(a, reply);
        m->network.wake_tun = adoption_take(a->store, "wake", FD_TAG_NONE);
        if (r < 0)
                (void) log_error_errno(r, "systemd does not list its units: %s", e ? e->message : strerror(-r));
        else
                r = adopt_records(a);
        if (r < 0) {
                /* Acting without knowing would end VMs. Better to be started again. */
                adoption_free(a);
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        stop_orphans(a);
        adopt_transients(a);
        fd_store_done(a->store);
        a->done(m);
        adoption_free(a);
        return 0;
}

int adoption_begin(Manager *m, FdStore *store, adoption_done_t done) {
        _cleanup_message_ sd_bus_message *call = NULL;
        Adoption *a;
        int r;

        a = new0(Adoption, 1);
        if (!a)
                return log_oom();
        *a = (Adoption) { .manager = m, .store = store, .done = done };
        r = bus_call_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE, "ListUnitsByPatterns",
                           on_units, a, "asas", 0, 1, "hero-vm-*.scope");
        if (r < 0) {
                adoption_free(a);
                return log_error_errno(r, "Cannot ask systemd for its units: %m");
        }
        return 0;
}
