/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the bus hears of VMs and jobs without having asked: gathered for a few milliseconds, or until a job ends, as that
 * is what callers wait for.
 *
 * So answers, and the calls to PID 1, go first, and several changes of one object become one signal: the bus would
 * otherwise be busier with what is on its way to be outdated than with the VMs. What is gathered goes out in this
 * order: new objects are announced, changes of properties told, then come the Manager's signals of VMs and jobs as they
 * were raised, then its transitions. JobRemoved, after which a caller looks at the VM, is thereby never ahead of
 * what the job did, and does not wait for what only watchers read; nor for the record of a state that was set ahead
 * (vm_set_state_ahead()), which is written last. Nothing is sent before the daemon serves. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Event Event;
typedef struct Job Job;
typedef struct Manager Manager;
typedef struct SignalMessage SignalMessage;
typedef struct Vm Vm;

TAILQ_HEAD(SignalMessages, SignalMessage);

typedef struct Signals {
        sd_event_source *soon, *now;       /* timer; once the loop comes round */
        bool armed;
        TAILQ_HEAD(, Vm) vms;              /* with something to tell */
        TAILQ_HEAD(, Job) jobs;
        struct SignalMessages messages, transitions;
} Signals;

int signals_init(Manager *m);
void signals_done(Manager *m);

/* JobNew, JobRemoved (after which nobody waits any longer), Transition */
void signals_job_new(const Job *j);
void signals_job_removed(const Job *j, const char *result, const char *text);
void signals_transition(Manager *m, const Event *e);

void signals_vm_added(Vm *vm); /* and VMNew */
/* And VMRemoved. Also sends everything that is waiting: call it while the object can still be found. */
void signals_vm_removed(Vm *vm);
void signals_vm_changed(Vm *vm, const char *property);
void signals_job_changed(Job *j); /* Step, Progress */

/* The object is about to be freed. */
void signals_forget_vm(Vm *vm);
void signals_forget_job(Job *j);
