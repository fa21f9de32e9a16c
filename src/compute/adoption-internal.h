/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the adoption: adoption.c (records and scopes, VMs that have a VMM), adoption-channels.c (what the fd store
 * holds of a VM), adoption-asleep.c (VMs whose guest sleeps without a VMM, or is on the way there or back). */

#include "compute/fd-store.h"
#include "compute/vm-record.h"

/* Takes one fd of the name and tag out of the store; -EBADF: there is none. */
int adoption_take(FdStore *store, const char *name, FdTag tag);
/* Into the VM's runtime: what it has beside its process. name is "vm-NAME". */
void adoption_take_channels(FdStore *store, Vm *vm, const char *name);
int adoption_take_state(FdStore *store, Vm *vm);
/* Exec sessions and consoles, once agent and console are there. */
void adoption_take_clients(FdStore *store, Vm *vm);

/* A runtime with what the record says of it, but for the process. NULL: out of memory. */
VmRuntime *adoption_runtime_new(Vm *vm, const VmRecordRuntime *record);

/* A VM in hibernating, hibernated or resuming, without a VMM. -ENODATA: nothing is left of its guest. Other errors: without all
 * of its channels. */
int adopt_asleep(FdStore *store, Vm *vm, const VmRecordRuntime *record);

/* Of one in hibernating or resuming that has a VMM, or had one a moment ago: true when the guest is in what was saved of it, and
 * not in the VMM. */
bool adopt_is_saved(Vm *vm);
/* The VMM of such a one is ended, and the guest sleeps on. */
void adopt_between(Vm *vm);
/* The same when it has ended already; only its scope is still there. */
void adopt_ended_between(FdStore *store, Vm *vm);
