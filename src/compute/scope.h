/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A VM's scope, as PID 1 sees it. All calls are asynchronous; the callback comes exactly once unless the VM's
 * runtime is freed first. The bus allows 128 unanswered calls per connection: at most SCOPE_STARTS_MAX starts (until they
 * are done) and SCOPE_QUESTIONS_MAX others (until they are answered) are with PID 1, the rest waits its turn. */

#include "compute/vm.h"

#define SCOPE_STARTS_MAX 48u
#define SCOPE_QUESTIONS_MAX 56u

typedef struct Manager Manager;

/* error: 0 or -errno; text: a sentence from PID 1, may be NULL. */
typedef void (*scope_done_t)(Vm *vm, int error, const char *text);

int scope_register(Manager *m); /* matches for what PID 1 tells */
void scope_manager_done(Manager *m);

/* StartTransientUnit with the launcher's pid; done when the job is. */
int scope_start(Vm *vm, scope_done_t done);
/* Drops a start that PID 1 was not sent yet, as it has enough of them; true: there will be no scope, and no done. */
bool scope_withdraw_start(Vm *vm);
/* StopUnit; done when the unit is gone (also when it never was). */
int scope_stop(Vm *vm, scope_done_t done);
int scope_freeze(Vm *vm, scope_done_t done);
int scope_thaw(Vm *vm, scope_done_t done);
/* Asks PID 1 for its jobs, and stops the VMs whose scopes somebody is stopping. By itself after PID 1 told of a job. */
void scope_look_for_stops(Manager *m);
/* SIGKILL for everything in it; no answer is waited for. */
void scope_kill(Vm *vm);
/* What acts on a running guest, from the VM's spec: weights, and the CPU quota if it is to change (else one set through
 * systemctl stays). */
int scope_set_limits(Vm *vm, bool quota);

/* Drops what is outstanding for the VM. */
void scope_forget(Vm *vm);

/* The name of the VM in whose scope the process is, NULL when in none. */
char *scope_vm_of_pid(pid_t pid);

/* "/sys/fs/cgroup/machine.slice/machine-hero.slice/hero-vm-x.scope" — from the VMM's /proc/PID/cgroup, verified to end in
 * the unit's name. NULL when it is not there. */
char *scope_cgroup_path(const Vm *vm, pid_t pid);
