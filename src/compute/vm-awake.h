/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Waking a VM that sleeps, for whoever wants something of it: a packet, a call on the bus, a key pressed at its console. Two at once
 * are one; a VM that is just falling asleep is called back. */

#include "compute/vm.h"
#include "network/packet.h"

#define AWAKE_CALLS_MAX 64u

/* why: a sentence for the journal. Nothing for a VM that runs, or that has no guest to wake. */
void vm_awake(Vm *vm, const char *why);
void vm_awake_packet(Vm *vm, const PacketInfo *packet);

typedef int (*vm_call_t)(sd_bus_message *message, Vm *vm, sd_bus_error *error);

/* It is falling asleep, so that a job of its own could not wake it before that is over: vm_awake_for_call() takes it back. */
bool vm_awake_is_needed(const Vm *vm);

/* For calls that need a guest that runs: 1: it does. 0: it sleeps and is being woken, and then handler is called with the
 * message, which the caller answers nothing to; when it cannot be woken the message is answered with the reason. -errno with error
 * set: there is none to wake. */
int vm_awake_for_call(Vm *vm, sd_bus_message *message, vm_call_t handler, sd_bus_error *error);

/* For calls that need the agent: as above, for one that woke up and has not said so yet, which it has a few seconds for. */
int vm_agent_for_call(Vm *vm, sd_bus_message *message, vm_call_t handler, sd_bus_error *error);
void vm_awake_agent(Vm *vm); /* the agent is ready, or lost */

/* The state has changed or a job has ended: wakes what was wanted meanwhile, goes on with calls. error: of the job, or 0. */
void vm_awake_look(Vm *vm, int error, const char *text);

void vm_awake_done(Vm *vm); /* the VM goes: its calls are answered */
