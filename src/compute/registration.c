/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/registration.h"

#include <stdio.h>

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/steps.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define MACHINED_BUS_NAME "org.freedesktop.machine1"
#define MACHINED_OBJECT "/org/freedesktop/machine1"
#define MACHINED_INTERFACE "org.freedesktop.machine1.Manager"

/* Each failed activation costs the bus a start attempt. */
#define RETRY_USEC (60 * USEC_PER_SEC)
/* machined must let go of the VM before another one has its name: its own clean-up stops the scope by name, and would hit
 * the successor. */
#define UNREGISTER_TIMEOUT (5 * USEC_PER_SEC)
#define CALLS_MAX 4u

static void registration_next(Manager *m, Vm *current);

static bool is_absent(Manager *m) {
        return now_usec(CLOCK_MONOTONIC) < m->machined_retry;
}

/* What the bus or PID 1 says when there is no machined, or a masked, broken or stuck one. */
static bool says_absent(const sd_bus_error *e) {
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_INVALID_ARGS))
                return false;
        return startswith(e->name, "org.freedesktop.DBus.Error.") || startswith(e->name, "org.freedesktop.systemd1.");
}

static void take_answer(Manager *m, sd_bus_message *reply) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        m->n_registrations--;
        if (!e)
                return;
        if (says_absent(e))
                m->machined_retry = now_usec(CLOCK_MONOTONIC) + RETRY_USEC;
        log_debug("systemd-machined: %s", e->message ?: e->name);
}

static int on_registered(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        take_answer(userdata, reply);
        registration_next(userdata, NULL);
        return 0;
}

static int on_unregistered(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Vm *vm = userdata;
        Manager *m = vm->manager;

        vm->runtime->unregister_call = sd_bus_slot_unref(vm->runtime->unregister_call);
        vm->runtime->registered = false;
        take_answer(m, reply);
        vm_check_gone(vm); /* it may be freed by this */
        registration_next(m, NULL);
        return 0;
}

/* machined wants 128 bits: our 48, repeated. */
static void machine_id(const Vm *vm, uint8_t ret[static 16]) {
        for (size_t i = 0; i < 16; i++) {
                unsigned byte = 0;

                (void) sscanf(vm->id + 2 * (i % (VM_ID_LENGTH / 2)), "%2x", &byte);
                ret[i] = (uint8_t) byte;
        }
}

static int send_register(Vm *vm) {
        _cleanup_message_ sd_bus_message *call = NULL;
        Manager *m = vm->manager;
        uint8_t id[16];
        int r;

        machine_id(vm, id);
        r = sd_bus_message_new_method_call(m->bus, &call, MACHINED_BUS_NAME, MACHINED_OBJECT, MACHINED_INTERFACE,
                                           "RegisterMachineWithNetwork");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", vm->name);
        if (r >= 0)
                r = sd_bus_message_append_array(call, 'y', id, sizeof(id));
        if (r >= 0)
                r = sd_bus_message_append(call, "ssusai", "hero-compute", "vm", (uint32_t) vm->runtime->process.pid, "", 0);
        if (r >= 0)
                r = sd_bus_call_async(m->bus, NULL, call, on_registered, m, 0);
        return r;
}

static int send_unregister(Vm *vm) {
        _cleanup_message_ sd_bus_message *call = NULL;
        Manager *m = vm->manager;
        int r;

        r = sd_bus_message_new_method_call(m->bus, &call, MACHINED_BUS_NAME, MACHINED_OBJECT, MACHINED_INTERFACE,
                                           "UnregisterMachine");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", vm->name);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, false);
        if (r >= 0)
                r = sd_bus_call_async(m->bus, &vm->runtime->unregister_call, call, on_unregistered, vm, UNREGISTER_TIMEOUT);
        return r;
}

static void dequeue(Vm *vm) {
        Manager *m = vm->manager;

        if (vm->runtime->registering || vm->runtime->unregistering)
                TAILQ_REMOVE(&m->registrations, vm, registrations);
        vm->runtime->registering = vm->runtime->unregistering = false;
}

static void enqueue(Vm *vm) {
        TAILQ_INSERT_TAIL(&vm->manager->registrations, vm, registrations);
        registration_next(vm->manager, vm);
}

/* current: who calls, and sees for himself what became of his VM. */
static void registration_next(Manager *m, Vm *current) {
        Vm *vm;

        while (m->n_registrations < CALLS_MAX && (vm = TAILQ_FIRST(&m->registrations))) {
                bool removal = vm->runtime->unregistering;
                int r = -EHOSTUNREACH;

                dequeue(vm);
                if (!is_absent(m))
                        r = removal ? send_unregister(vm) : send_register(vm);
                if (r >= 0)
                        m->n_registrations++;
                vm->runtime->registered = r >= 0;
                if (r < 0 && removal && vm != current)
                        vm_check_gone(vm);
        }
}

void registration_add(Vm *vm) {
        if (!vm->manager->config.register_machines || vm->runtime->registering || vm->runtime->unregistering)
                return;
        vm->runtime->registering = true;
        enqueue(vm);
}

bool registration_is_gone(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (rt->registering)
                dequeue(vm); /* it was never told */
        if (!rt->registered)
                return true;
        if (rt->unregister_call || rt->unregistering)
                return false;
        rt->unregistering = true;
        enqueue(vm);
        return !rt->registered;
}

void registration_forget(Vm *vm) {
        if (!vm->runtime)
                return;
        dequeue(vm);
        if (!vm->runtime->unregister_call)
                return;
        vm->runtime->unregister_call = sd_bus_slot_unref(vm->runtime->unregister_call);
        vm->manager->n_registrations--;
}
