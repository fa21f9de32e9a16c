/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How the VM's last run ended: ExitCode and ExitReason, kept in its record until the next start.
 *
 *     (none)         it has not run yet, or still does
 *     exited         its command ended by itself; code: its status
 *     signaled       its command was ended by a signal; code: 128 + the signal
 *     not-executed   its command could not be executed; code: 127 not found, 126 otherwise
 *     boot-failed    the guest could not boot        start-failed   nor come to that
 *     shutdown       the guest shut down by itself, with no word of a command
 *     stopped        it was told to stop             killed         and had to be forced
 *     oom            the VMM reached the memory limit of its scope
 *     vmm-failed     the VMM failed, or was killed by somebody else
 *     lost           it ended while hero-computed was not running
 *
 * What is known of the command goes before what is known of the machine. */

#include "compute/vm.h"

#define EXIT_NOT_FOUND 127
#define EXIT_NOT_EXECUTED 126

void vm_exit_reset(Vm *vm);

void vm_exit_command(Vm *vm, int status);
void vm_exit_signal(Vm *vm, int signal);
void vm_exit_not_executed(Vm *vm, int code);

/* The VMM is gone, its runtime still there. */
void vm_exit_gone(Vm *vm);
void vm_exit_set(Vm *vm, const char *reason); /* unless one is known */

/* "Its command ended with status 3." Allocated. */
char *vm_exit_sentence(const Vm *vm);
