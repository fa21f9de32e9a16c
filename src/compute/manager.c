/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/manager.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/resources-internal.h"
#include "compute/scope.h"
#include "shared/bus-util.h"
#include "shared/catalog-ids.h"
#include "shared/error-names.h"
#include "shared/log-control.h"
#include "shared/log.h"

/* Some of it is what stands in the broken record. */
#define QUARANTINE_WHY_MAX 500u

static void on_config_problem(const char *sentence, void *userdata) {
        log_full(LOG_WARNING, 0, __FILE__, __LINE__, __func__, NULL, NULL, CATALOG_CONFIG_PROBLEM, "%s", sentence);
}

int manager_load_config(Manager *m) {
        uint64_t timeout = m->config.idle_timeout, delay = m->config.hibernate_delay;
        ComputeConfig c;
        int r;

        r = compute_config_defaults(&c);
        if (r < 0)
                return log_oom();
        r = compute_config_load(&c, NULL, on_config_problem);
        if (r < 0)
                (void) log_warning_errno(r, "Some of the configuration could not be read: %m");
        if (m->config.uid_count > 0) {
                /* The pool of uids is laid out once; VMs that run have theirs from it. */
                c.uid_base = m->config.uid_base;
                c.uid_count = m->config.uid_count;
        }
        compute_config_done(&m->config);
        m->config = c;
        r = capacity_refresh(&m->capacity, &m->config, m->state_fd);
        if (r < 0)
                return log_error_errno(r, "Cannot find out what the host has: %m");
        resources_flush(m);
        network_reload(m);
        idle_config_changed(m, timeout, delay);
        kept_memory_config_changed(m);
        if (m->audit)
                audit_refresh(m->audit);
        return 0;
}

static int open_state_directories(Manager *m) {
        (void) mkdir(STATEDIR, 0755);
        m->state_fd = open(STATEDIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (m->state_fd < 0)
                return log_error_errno(errno, "Cannot open " STATEDIR ": %m");
        m->vms_fd = open_directory_at(m->state_fd, "vms", 0700, true);
        if (m->vms_fd < 0)
                return log_error_errno(m->vms_fd, "Cannot open " STATEDIR "/vms: %m");
        m->templates_fd = open_directory_at(m->state_fd, "templates", 0700, true);
        if (m->templates_fd < 0)
                return log_error_errno(m->templates_fd, "Cannot open " STATEDIR "/templates: %m");
        return 0;
}

int manager_new(Manager **ret) {
        _cleanup_(manager_freep) Manager *m = NULL;
        int r;

        m = new(Manager, 1);
        if (!m)
                return log_oom();
        *m = (Manager) {
                .state_fd = -EBADF,
                .vms_fd = -EBADF,
                .templates_fd = -EBADF,
                .next_sequence = 1,
                .events = { .max = EVENT_RING_ALL },
        };
        kept_memory_init(m);
        TAILQ_INIT(&m->scope_calls);
        TAILQ_INIT(&m->registrations);
        (void) resources_init(m);
        r = sd_event_default(&m->event);
        if (r < 0)
                return log_error_errno(r, "Cannot make an event loop: %m");
        (void) sd_event_set_watchdog(m->event, true);
        r = signals_init(m);
        if (r >= 0)
                r = open_state_directories(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Manager *manager_free(Manager *m) {
        Vm *vm, *next;

        if (!m)
                return NULL;
        signals_done(m);
        idle_done(m);
        /* VMs stay: closing our ends of their sockets leaves PID 1's. */
        m->serving = false;
        HASH_ITER(hh_name, m->vms_by_name, vm, next)
                vm_forget(vm);
        kept_memory_done(m);
        while (m->jobs)
                job_free(m->jobs);
        sd_event_source_disable_unref(m->reconcile_timer);
        scope_manager_done(m);
        resources_done(m);
        network_done(m);
        audit_free(m->audit);
        polkit_free(m->polkit);
        event_ring_done(&m->events);
        for (size_t i = 0; i < m->n_quarantined; i++) {
                free(m->quarantined[i].name);
                free(m->quarantined[i].why);
        }
        free(m->quarantined);
        free(m->uids_used);
        compute_config_done(&m->config);
        safe_close(m->templates_fd);
        safe_close(m->vms_fd);
        safe_close(m->state_fd);
        sd_bus_flush_close_unref(m->bus);
        sd_event_unref(m->event);
        return mfree(m);
}

Vm *manager_find_vm(Manager *m, const char *name) {
        Vm *vm;

        HASH_FIND(hh_name, m->vms_by_name, name, strlen(name), vm);
        return vm;
}

Vm *manager_find_vm_by_user(Manager *m, const char *user) {
        Vm *vm;

        HASH_FIND(hh_user, m->vms_by_user, user, strlen(user), vm);
        return vm;
}

int manager_resolve_vm(Manager *m, const char *name, Vm **ret, sd_bus_error *error) {
        Vm *vm, *next, *found = NULL;

        vm = manager_find_vm(m, name);
        if (!vm)
                HASH_FIND(hh_id, m->vms_by_id, name, strlen(name), vm);
        if (vm) {
                *ret = vm;
                return 0;
        }
        HASH_ITER(hh_name, m->vms_by_name, vm, next) {
                if (isempty(name) || (!startswith(vm->name, name) && !startswith(vm->id, name)))
                        continue;
                if (found)
                        return sd_bus_error_setf(error, ERROR_AMBIGUOUS_NAME, "'%s' may be '%s' or '%s' or more; write more of it.",
                                                 name, found->name, vm->name);
                found = vm;
        }
        if (!found)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_VM, "There is no VM '%s'.", name);
        *ret = found;
        return 0;
}

int manager_quarantine(Manager *m, const char *name, const char *why) {
        Quarantine q;

        log_full(LOG_ERR, 0, __FILE__, __LINE__, __func__, name, NULL, CATALOG_VM_QUARANTINED,
                 "VM '%s' is left alone: %s", name, why);
        if (!GREEDY_REALLOC(m->quarantined, m->allocated_quarantined, m->n_quarantined + 1))
                return -ENOMEM;
        q = (Quarantine) { strdup(name), strndup(why, QUARANTINE_WHY_MAX) };
        if (!q.name || !q.why) {
                free(q.name);
                free(q.why);
                return -ENOMEM;
        }
        (void) utf8_sanitize(q.name);
        (void) utf8_sanitize(q.why);
        m->quarantined[m->n_quarantined++] = q;
        return 0;
}

void manager_add_event(Manager *m, Event *e) {
        (void) event_ring_push(&m->events, e);
        signals_transition(m, e);
}

/* Without a bus there is nothing we can do. The VMs need none; systemd starts us again and we adopt them. */
static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        log_error("The connection to the system bus was lost; ending, to be started again.");
        return sd_event_exit(m->event, EXIT_FAILURE);
}

int manager_connect(Manager *m) {
        int r;

        r = error_names_register();
        if (r >= 0)
                r = sd_bus_open_system(&m->bus);
        if (r < 0)
                return log_error_errno(r, "Cannot connect to the system bus: %m");
        (void) sd_bus_set_close_on_exit(m->bus, true);
        r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_match_signal(m->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, m);
        if (r >= 0)
                r = polkit_new(m->bus, &m->polkit);
        if (r >= 0)
                r = audit_new(m->polkit, &m->audit);
        if (r >= 0)
                r = scope_register(m);
        if (r >= 0)
                r = images_register(m);
        if (r >= 0)
                r = log_control_register(m->bus);
        if (r >= 0)
                r = manager_bus_register(m);
        if (r >= 0)
                r = vm_bus_register(m);
        if (r >= 0)
                r = user_bus_register(m);
        if (r >= 0)
                r = job_bus_register(m);
        return r < 0 ? log_error_errno(r, "Cannot set the bus up: %m") : 0;
}
