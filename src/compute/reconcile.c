/* SPDX-License-Identifier: Apache-2.0 */

/* Once a minute: what PID 1 and the kernel's routes have against what we have. Events normally tell everything; this is for what no event told of. A VM
 * with a job is its job's and is not looked at. */

#include "compute/reconcile.h"

#include <signal.h>

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define RECONCILE_INTERVAL (60 * USEC_PER_SEC)
#define RECONCILE_ACCURACY (10 * USEC_PER_SEC)

/* "hero-vm-NAME.scope" → the VM, or NULL. */
static Vm *vm_of_unit(Manager *m, const char *unit) {
        char name[VM_NAME_MAX + 1];
        const char *rest;
        size_t n;

        rest = startswith(unit, "hero-vm-");
        n = rest ? strlen(rest) : 0;
        if (n <= strlen(".scope") || n - strlen(".scope") > VM_NAME_MAX)
                return NULL;
        memcpy(name, rest, n - strlen(".scope"));
        name[n - strlen(".scope")] = 0;
        return manager_find_vm(m, name);
}

static bool is_quarantined(Manager *m, const char *unit) {
        for (size_t i = 0; i < m->n_quarantined; i++) {
                const char *rest = startswith(unit, "hero-vm-");
                size_t l = strlen(m->quarantined[i].name);

                if (rest && strncmp(rest, m->quarantined[i].name, l) == 0 && streq(rest + l, ".scope"))
                        return true;
        }
        return false;
}

void reconcile_orphan(Manager *m, const char *unit) {
        if (is_quarantined(m, unit))
                return; /* left alone with all that belongs to it */
        log_warning("%s belongs to no VM, stopping it.", unit);
        /* Nobody is there to ask its guest, and its KillSignal= does nothing to a VMM. */
        (void) bus_call_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE, "KillUnit", NULL,
                              NULL, "ssi", unit, "all", SIGKILL);
        (void) bus_call_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE, "StopUnit", NULL,
                              NULL, "ss", unit, "replace");
}

static int on_units(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const char *unit, *active;
        Manager *m = userdata;
        int r;

        m->reconciling = false;
        if (sd_bus_message_is_method_error(reply, NULL))
                return 0;
        r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        if (r < 0)
                return 0;
        while ((r = sd_bus_message_read(reply, "(ssssssouso)", &unit, NULL, NULL, &active, NULL, NULL, NULL, NULL, NULL,
                                        NULL)) > 0) {
                Vm *vm = vm_of_unit(m, unit);

                if (!streq(active, "active"))
                        continue;
                if (!vm || (!vm->job && !vm->runtime))
                        reconcile_orphan(m, unit);
        }
        return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        if (!m->reconciling)
                m->reconciling = bus_call_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                                "ListUnitsByPatterns", on_units, m, "asas", 0, 1, "hero-vm-*.scope") >= 0;
        network_check(m);
        (void) sd_event_source_set_time_relative(s, RECONCILE_INTERVAL);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int reconcile_start(Manager *m) {
        return sd_event_add_time_relative(m->event, &m->reconcile_timer, CLOCK_MONOTONIC, RECONCILE_INTERVAL,
                                          RECONCILE_ACCURACY, on_timer, m);
}
