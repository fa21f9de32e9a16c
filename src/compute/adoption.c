/* SPDX-License-Identifier: Apache-2.0 */

/* For every record: is there a scope with the recorded process in it?
 *
 *   there, sockets came back   → adopted as it was: running, suspended, or still starting
 *   there, half-made           → its end is brought about, the start counts as undone
 *   not there                  → the VM ended while nobody looked
 *   never finished creating    → it is removed
 *
 * A scope of ours without a record is an accident of a daemon killed while deleting: it is stopped. */

#include "compute/adoption.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/reconcile.h"
#include "compute/requests.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/transient.h"
#include "compute/vm-awake.h"
#include "compute/vm-exit.h"
#include "compute/vm-record.h"
#include "hypervisor/memory-image.h"
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

/* Takes one fd of the name and tag out of the store. */
static int store_take(FdStore *store, const char *name, FdTag tag) {
        for (size_t i = 0; i < store->n; i++)
                if (store->fds[i].fd >= 0 && streq(store->fds[i].name, name) &&
                    (tag == FD_TAG_NONE || fd_store_get_tag(store->fds[i].fd) == tag))
                        return TAKE_FD(store->fds[i].fd);
        return -EBADF;
}

static void adopt_sessions(Adoption *a, Vm *vm) {
        _cleanup_free_ char *suffix = strprintf("-%s", vm->name);
        size_t l = suffix ? strlen(suffix) : 0;

        for (size_t i = 0; suffix && i < a->store->n; i++) {
                _cleanup_free_ char *name = NULL, *number = NULL;
                const char *rest;
                int stdio, standard_error, control;
                size_t n;
                unsigned stream;

                if (a->store->fds[i].fd < 0)
                        continue;
                rest = startswith(a->store->fds[i].name, "exec-");
                n = rest ? strcspn(rest, "-") : 0;
                if (n == 0 || !streq(rest + n, suffix) || l == 0)
                        continue;
                number = strndup(rest, n);
                name = strdup(a->store->fds[i].name);
                if (!number || !name || parse_uint(number, UINT32_MAX, &stream) < 0)
                        continue;
                stdio = store_take(a->store, name, FD_TAG_STDIO);
                standard_error = store_take(a->store, name, FD_TAG_STDERR);
                control = store_take(a->store, name, FD_TAG_CONTROL);
                if (agent_adopt_session(vm->runtime->agent, stream, stdio, standard_error, control) < 0) {
                        fd_store_shutdown(stdio);
                        fd_store_shutdown(standard_error);
                        fd_store_shutdown(control);
                        fd_store_remove(name);
                }
        }
}

static void adopt_attachments(Adoption *a, Vm *vm) {
        static const char *const kinds[] = { "console", "log" };

        for (unsigned k = 0; k < ELEMENTSOF(kinds); k++) {
                _cleanup_free_ char *name = strprintf("%s-%s", kinds[k], vm->name);
                int fd;

                while (name && (fd = store_take(a->store, name, FD_TAG_NONE)) >= 0)
                        if (console_adopt_attachment(vm->runtime->console, fd, k == 0) < 0)
                                fd_store_shutdown(fd);
        }
}

static void adopt_channels(Adoption *a, Vm *vm, const char *name) {
        VmRuntime *rt = vm->runtime;

        rt->monitor_fd = store_take(a->store, name, FD_TAG_MONITOR);
        rt->agent_fd = store_take(a->store, name, FD_TAG_AGENT);
        rt->console_fd = store_take(a->store, name, FD_TAG_CONSOLE);
        rt->agent_peer = store_take(a->store, name, FD_TAG_AGENT_PEER);
        rt->console_peer = store_take(a->store, name, FD_TAG_CONSOLE_PEER);
        rt->memory_fd = store_take(a->store, name, FD_TAG_MEMORY);
}

static int adopt_state(Adoption *a, Vm *vm) {
        _cleanup_free_ char *name = strprintf("state-%s", vm->name);

        return name ? store_take(a->store, name, FD_TAG_NONE) : -EBADF;
}

static int open_image(Vm *vm) {
        _cleanup_close_ int dir_fd = vm_directory_open(vm, false);

        return dir_fd < 0 ? dir_fd : openat(dir_fd, MEMORY_IMAGE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static VmRuntime *adopt_identity(Vm *vm, const VmRecordRuntime *record) {
        VmRuntime *rt = vm_runtime_new(vm);

        if (!rt)
                return NULL;
        rt->uid = record->uid;
        uid_pool_reserve(vm->manager, rt->uid);
        rt->accelerator = record->accelerator;
        if (!isempty(record->vmm_version))
                rt->vmm_version = strdup(record->vmm_version);
        return rt;
}

static int adopt_runtime(Adoption *a, Vm *vm, const VmRecordRuntime *record) {
        _cleanup_free_ char *name = strprintf("vm-%s", vm->name), *cgroup = NULL;
        VmRuntime *rt;
        int r;

        rt = adopt_identity(vm, record);
        if (!rt || !name)
                return -ENOMEM;
        adopt_channels(a, vm, name);
        rt->state_fd = adopt_state(a, vm);
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
        vm_network_adopt(vm, store_take(a->store, name, FD_TAG_TAP));
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
        if (rt->agent)
                adopt_sessions(a, vm);
        adopt_attachments(a, vm);
        return 0;
}

/* The former daemon had it end already, or that did not go on yet: both lead to a guest that sleeps without a VMM. */
static void adopt_between(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (vm->state == VM_HIBERNATING)
                rt->saved = true;
        else {
                if (rt->state_fd < 0)
                        rt->image_fd = open_image(vm);
                rt->restoring = true;
                vm->wake_wanted = true;
                vm->failure = -ECANCELED;
        }
        vm_kill(vm);
}

/* True when the guest is in what was saved of it, and not in the VMM. */
static bool is_saved(Vm *vm) {
        _cleanup_close_ int image_fd = -EBADF;

        if (vm->runtime->state_fd >= 0)
                return true;
        if (vm->state == VM_RESUMING)
                image_fd = open_image(vm);
        return image_fd >= 0;
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
                if (is_saved(vm)) {
                        adopt_between(vm);
                        break;
                }
                vm_set_state(vm, VM_SUSPENDED, "The hibernation was interrupted by a restart of hero-computed.");
                vm_awake(vm, "its hibernation was interrupted.");
                break;

        case VM_RESUMING:
                if (is_saved(vm)) {
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

/* Where it sleeps without a VMM: in memory and with what its VMM said of it (0), or on disk (1). An image from before the host was
 * started anew is good for a guest that had not begun to wake. */
static int find_asleep(Adoption *a, Vm *vm, const VmRecordRuntime *record, const char *name) {
        VmRuntime *rt = vm->runtime;

        adopt_channels(a, vm, name);
        rt->monitor_fd = safe_close(rt->monitor_fd);
        rt->state_fd = adopt_state(a, vm);
        if (vm->state != VM_RESUMING || record->same_boot)
                rt->image_fd = open_image(vm);
        if (rt->image_fd < 0 && (rt->memory_fd < 0 || rt->state_fd < 0))
                return -ENODATA;
        if (rt->image_fd < 0)
                return 0;
        rt->image_fd = safe_close(rt->image_fd);
        return 1;
}

/* The channels are those of its next VMM, too, or it gets new ones. */
static int open_asleep(Adoption *a, Vm *vm) {
        VmRuntime *rt = vm->runtime;
        int r;

        if (rt->agent_fd < 0 || rt->agent_peer < 0 || rt->console_fd < 0 || rt->console_peer < 0) {
                rt->agent_fd = safe_close(rt->agent_fd);
                rt->agent_peer = safe_close(rt->agent_peer);
                rt->console_fd = safe_close(rt->console_fd);
                rt->console_peer = safe_close(rt->console_peer);
                return 0;
        }
        rt->agent_ready = true;
        r = vm_open_channels(vm, true);
        if (r < 0)
                return r;
        adopt_sessions(a, vm);
        adopt_attachments(a, vm);
        return 0;
}

/* As adopt_between(), and the VMM has ended; only its scope is still there. */
static void adopt_ended_between(Adoption *a, Vm *vm) {
        _cleanup_free_ char *name = strprintf("vm-%s", vm->name);
        VmRuntime *rt = vm->runtime;
        int r;

        rt->monitor_fd = safe_close(rt->monitor_fd);
        vm_network_adopt(vm, name ? store_take(a->store, name, FD_TAG_TAP) : -EBADF);
        r = open_asleep(a, vm);
        if (r < 0)
                log_vm_warning_errno(vm, r, "VM '%s' was adopted without all of its channels: %m", vm->name);
        adopt_between(vm);
}

static int adopt_asleep(Adoption *a, Vm *vm, const VmRecordRuntime *record) {
        _cleanup_free_ char *name = strprintf("vm-%s", vm->name);
        bool waking = vm->state == VM_RESUMING, on_disk;
        VmRuntime *rt;
        int r;

        rt = adopt_identity(vm, record);
        if (!rt || !name)
                return -ENOMEM;
        r = find_asleep(a, vm, record, name);
        if (r < 0) {
                fd_store_remove_vm(vm);
                fd_store_remove_state(vm);
                vm_runtime_free(vm);
                return r;
        }
        on_disk = r > 0;
        if (vm->state != VM_HIBERNATED)
                vm_set_state(vm, VM_HIBERNATED, "A restart of hero-computed came between.");
        vm_network_adopt(vm, store_take(a->store, name, FD_TAG_TAP));
        r = open_asleep(a, vm);
        if (on_disk && (rt->memory_fd >= 0 || rt->state_fd >= 0 || vm->network.tap_fd >= 0))
                vm_give_memory_back(vm); /* the former daemon had not come to it */
        if (rt->memory_fd >= 0)
                capacity_force(vm, true);
        if (waking)
                vm_awake(vm, "it was being woken.");
        else if (rt->memory_fd >= 0)
                (void) request_hibernate(vm, &(Job *) { NULL }, NULL);
        return r;
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
        if (!s && (vm->state == VM_HIBERNATED || vm->state == VM_HIBERNATING || vm->state == VM_RESUMING)) {
                r = record->present ? adopt_asleep(a, vm, record) : -ENODATA;
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
                if ((vm->state == VM_HIBERNATING || vm->state == VM_RESUMING) && is_saved(vm))
                        adopt_ended_between(a, vm);
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
        m->network.wake_tun = store_take(a->store, "wake", FD_TAG_NONE);
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
