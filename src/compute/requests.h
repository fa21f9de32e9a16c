/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What can be asked of a VM or a user, as jobs: the same whichever object it was called on. The caller has been
 * authorised. error is set on failure. */

#include "compute/manager.h"

int request_create(Manager *m, const char *name, VmSpec *spec, Vm **ret_vm, Job **ret_job, sd_bus_error *error);
int request_provision(Manager *m, const char *user, VmSpec *spec, Vm **ret_vm, Job **ret_job, sd_bus_error *error);
int request_start(Vm *vm, Job **ret, sd_bus_error *error);
int request_stop(Vm *vm, bool force, Job **ret, sd_bus_error *error);
int request_restart(Vm *vm, Job **ret, sd_bus_error *error);
int request_suspend(Vm *vm, Job **ret, sd_bus_error *error);
/* Suspends it before, if need be. */
int request_hibernate(Vm *vm, Job **ret, sd_bus_error *error);
int request_resume(Vm *vm, Job **ret, sd_bus_error *error);
int request_delete(Vm *vm, bool force, JobType type, Job **ret, sd_bus_error *error);
/* A creation that the former daemon was in the middle of. */
int request_go_on(Vm *vm, sd_bus_error *error);
/* Start or resume, whichever it needs. */
int request_wake(Vm *vm, Job **ret, sd_bus_error *error);
int request_set_resources(Vm *vm, const VmSpec *wanted, sd_bus_error *error);
/* Those of idle_timeout and hibernate_delay that are given. */
int request_set_idle_policy(Vm *vm, const VmSpec *wanted, sd_bus_error *error);
int request_hold(Vm *vm, uint64_t usec, sd_bus_error *error);
