/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/registration.h"

#include <stdio.h>

#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/steps.h"
#include "shared/bus-util.h"
#include "shared/log.h"

/* Each failed activation costs the bus a start attempt. */
#define RETRY_USEC (60 * USEC_PER_SEC)

static int on_registered(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Manager *m = userdata;

        if (!e)
                return 0;
        if (sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                                   "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.Spawn.ChildExited"))
                m->machined_retry = now_usec(CLOCK_MONOTONIC) + RETRY_USEC;
        log_debug("Registration with systemd-machined: %s", e->message ?: e->name);
        return 0;
}

void registration_add(Vm *vm) {
        _cleanup_message_ sd_bus_message *call = NULL;
        Manager *m = vm->manager;
        uint8_t id[16];
        int r;

        if (!m->config.register_machines || now_usec(CLOCK_MONOTONIC) < m->machined_retry)
                return;
        vm->runtime->registered = true;
        /* machined wants 128 bits: our 48, repeated. */
        for (size_t i = 0; i < sizeof(id); i++) {
                unsigned byte = 0;

                (void) sscanf(vm->id + 2 * (i % (VM_ID_LENGTH / 2)), "%2x", &byte);
                id[i] = (uint8_t) byte;
        }
        r = sd_bus_message_new_method_call(m->bus, &call, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                           "org.freedesktop.machine1.Manager", "RegisterMachineWithNetwork");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", vm->name);
        if (r >= 0)
                r = sd_bus_message_append_array(call, 'y', id, sizeof(id));
        if (r >= 0)
                r = sd_bus_message_append(call, "ssusai", "hero-compute", "vm", (uint32_t) vm->runtime->process.pid, "", 0);
        if (r >= 0)
                r = sd_bus_call_async(m->bus, NULL, call, on_registered, m, 0);
        if (r < 0)
                log_vm_debug(vm, "Cannot register VM '%s' with systemd-machined.", vm->name);
}

/* machined must let go of the VM before another one has its name: its own clean-up stops the scope by name, and would hit
 * the successor. */
#define UNREGISTER_TIMEOUT (5 * USEC_PER_SEC)

static int on_unregistered(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Vm *vm = userdata;

        vm->runtime->unregister_call = sd_bus_slot_unref(vm->runtime->unregister_call);
        vm->runtime->registered = false;
        vm_check_gone(vm);
        return 0;
}

bool registration_is_gone(Vm *vm) {
        _cleanup_message_ sd_bus_message *call = NULL;
        VmRuntime *rt = vm->runtime;
        int r;

        if (!rt->registered)
                return true;
        if (rt->unregister_call)
                return false;
        r = sd_bus_message_new_method_call(vm->manager->bus, &call, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                           "org.freedesktop.machine1.Manager", "UnregisterMachine");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", vm->name);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, false);
        if (r >= 0)
                r = sd_bus_call_async(vm->manager->bus, &rt->unregister_call, call, on_unregistered, vm, UNREGISTER_TIMEOUT);
        return r < 0;
}
