/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/signals.h"

#include <stdarg.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/vm-record.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define GATHER (5 * USEC_PER_MSEC)
#define ACCURACY USEC_PER_MSEC

struct SignalMessage {
        TAILQ_ENTRY(SignalMessage) messages;
        sd_bus_message *message;
};

/* The properties of a VM that emit changes; bit i of Vm.changed is properties[i]. */
static const char *const properties[] = {
        "State",      "StateReason",      "AgentReady",       "PID",        "UID", "CPUs",   "Memory",
        "Disk",       "StartedTimestamp", "StoppedTimestamp", "ExitCode", "Job", "Accelerator", "ImageDigest",
        "ExitReason", "MyceliumIP", "NetworkReceiveMax", "NetworkTransmitMax", "AwakeReason", "IdleTimeoutUSec",
        "HibernateDelayUSec", "LastActivityTimestamp",
};

static void emit_vm(Vm *vm) {
        const char *names[ELEMENTSOF(properties) + 1] = {};
        sd_bus *bus = vm->manager->bus;
        size_t n = 0;

        if (vm->announce) {
                (void) sd_bus_emit_object_added(bus, vm->path);
                if (vm->spec.user)
                        user_emit_added(vm);
                idle_activity_told(vm);
        } else if (vm->changed) {
                for (size_t i = 0; i < ELEMENTSOF(properties); i++)
                        if (vm->changed & (1u << i))
                                names[n++] = properties[i];
                (void) sd_bus_emit_properties_changed_strv(bus, vm->path, COMPUTE_VM_INTERFACE, (char **) names);
                if (strv_contains((char **) names, "LastActivityTimestamp"))
                        idle_activity_told(vm); /* the value is that of now */
        }
        vm->announce = false;
        vm->changed = 0;
}

static void send_all(Manager *m, struct SignalMessages *queue) {
        SignalMessage *q;

        while ((q = TAILQ_FIRST(queue))) {
                (void) sd_bus_send(m->bus, q->message, NULL);
                TAILQ_REMOVE(queue, q, messages);
                sd_bus_message_unref(q->message);
                free(q);
        }
}

static void flush(Manager *m) {
        Signals *s = &m->signals;
        Vm *vm;
        Job *j;

        s->armed = false;
        (void) sd_event_source_set_enabled(s->soon, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(s->now, SD_EVENT_OFF);
        TAILQ_FOREACH(vm, &s->vms, signals)
                emit_vm(vm);
        while ((j = TAILQ_FIRST(&s->jobs))) {
                (void) sd_bus_emit_properties_changed(m->bus, j->path, COMPUTE_JOB_INTERFACE, "Step", "Progress", NULL);
                signals_forget_job(j);
        }
        send_all(m, &s->messages);
        send_all(m, &s->transitions);
        while ((vm = TAILQ_FIRST(&s->vms))) {
                signals_forget_vm(vm);
                vm_record_settle(vm);
        }
}

static int on_now(sd_event_source *source, void *userdata) {
        flush(userdata);
        return 0;
}

static int on_soon(sd_event_source *source, uint64_t usec, void *userdata) {
        flush(userdata);
        return 0;
}

int signals_init(Manager *m) {
        Signals *s = &m->signals;
        int r;

        TAILQ_INIT(&s->vms);
        TAILQ_INIT(&s->jobs);
        TAILQ_INIT(&s->messages);
        TAILQ_INIT(&s->transitions);
        r = sd_event_add_defer(m->event, &s->now, on_now, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->now, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(m->event, &s->soon, CLOCK_MONOTONIC, 0, ACCURACY, on_soon, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->soon, SD_EVENT_OFF);
        return r;
}

void signals_done(Manager *m) {
        Signals *s = &m->signals;

        if (m->bus && s->soon)
                flush(m);
        s->now = sd_event_source_disable_unref(s->now);
        s->soon = sd_event_source_disable_unref(s->soon);
}

static void arm(Manager *m) {
        Signals *s = &m->signals;

        if (s->armed)
                return;
        s->armed = true;
        (void) sd_event_source_set_time_relative(s->soon, GATHER);
        (void) sd_event_source_set_enabled(s->soon, SD_EVENT_ONESHOT);
}

/* Takes the message over. */
static void queue_message(Manager *m, struct SignalMessages *queue, sd_bus_message *message) {
        SignalMessage *q;

        q = new0(SignalMessage, 1);
        if (!q) {
                sd_bus_message_unref(message);
                return;
        }
        q->message = message;
        TAILQ_INSERT_TAIL(queue, q, messages);
        arm(m);
}

static sd_bus_message *signal_new(Manager *m, const char *member, const char *types, ...) {
        _cleanup_message_ sd_bus_message *message = NULL;
        va_list ap;
        int r;

        if (!m->serving)
                return NULL;
        r = sd_bus_message_new_signal(m->bus, &message, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE, member);
        if (r >= 0) {
                va_start(ap, types);
                r = sd_bus_message_appendv(message, types, ap);
                va_end(ap);
        }
        if (r < 0) {
                (void) log_debug_errno(r, "Cannot make the signal %s: %m", member);
                return NULL;
        }
        return TAKE_PTR(message);
}

static void signals_vm(Vm *vm, const char *member) {
        sd_bus_message *s = signal_new(vm->manager, member, "so", vm->name, vm->path);

        if (s)
                queue_message(vm->manager, &vm->manager->signals.messages, s);
}

void signals_job_new(const Job *j) {
        sd_bus_message *s = signal_new(j->manager, "JobNew", "uos", j->id, j->path, j->vm_name);

        if (s)
                queue_message(j->manager, &j->manager->signals.messages, s);
}

void signals_job_removed(const Job *j, const char *result, const char *text) {
        Manager *m = j->manager;
        sd_bus_message *s = signal_new(m, "JobRemoved", "uosss", j->id, j->path, j->vm_name, result, text);

        if (!s)
                return;
        queue_message(m, &m->signals.messages, s);
        (void) sd_event_source_set_enabled(m->signals.now, SD_EVENT_ONESHOT);
}

void signals_transition(Manager *m, const Event *e) {
        sd_bus_message *s = signal_new(m, "Transition", "ttssss", e->sequence, e->timestamp, e->vm,
                                       vm_state_to_string(e->from), vm_state_to_string(e->to), e->reason);

        if (s)
                queue_message(m, &m->signals.transitions, s);
}

static void queue_vm(Vm *vm) {
        if (vm->signalled)
                return;
        vm->signalled = true;
        TAILQ_INSERT_TAIL(&vm->manager->signals.vms, vm, signals);
        arm(vm->manager);
}

void signals_vm_added(Vm *vm) {
        if (!vm->manager->serving)
                return;
        vm->announce = true;
        queue_vm(vm);
        signals_vm(vm, "VMNew");
}

void signals_vm_removed(Vm *vm) {
        Manager *m = vm->manager;

        if (!m->serving)
                return;
        flush(m);
        if (vm->spec.user)
                user_emit_removed(vm);
        (void) sd_bus_emit_object_removed(m->bus, vm->path);
        signals_vm(vm, "VMRemoved");
}

void signals_vm_changed(Vm *vm, const char *property) {
        if (!vm->manager->serving)
                return;
        for (size_t i = 0; i < ELEMENTSOF(properties); i++)
                if (streq(properties[i], property)) {
                        vm->changed |= 1u << i;
                        queue_vm(vm);
                        return;
                }
        assert(!"a property that emits changes is in the table");
}

void signals_job_changed(Job *j) {
        if (!j->manager->serving || j->signalled)
                return;
        j->signalled = true;
        TAILQ_INSERT_TAIL(&j->manager->signals.jobs, j, signals);
        arm(j->manager);
}

void signals_forget_vm(Vm *vm) {
        if (!vm->signalled)
                return;
        vm->signalled = false;
        TAILQ_REMOVE(&vm->manager->signals.vms, vm, signals);
}

void signals_forget_job(Job *j) {
        if (!j->signalled)
                return;
        j->signalled = false;
        TAILQ_REMOVE(&j->manager->signals.jobs, j, signals);
}
