/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A VM's console: always drained, the last of it kept on disk (console.log and console.log.1 beside the record, together at most
 * HistorySize=), and passed to whoever is attached. Owned by the VM's runtime; the history outlives it. A guest that writes
 * without end costs a bounded rate of work, memory and disk; somebody attached who does not read loses output. */

#include "compute/vm.h"

#define CONSOLE_ATTACHED_MAX 8u

/* Takes fd over. */
int console_new(Vm *vm, int fd, Console **ret);
Console *console_free(Console *c);

/* The daemon ends: closes our copies only, who is attached stays attached. */
void console_forget(Console *c);

/* A stream socket to the console. history: what is kept is sent first. input: what the other end writes goes to the guest. -EDQUOT. */
int console_attach(Console *c, bool history, uint64_t history_max, bool input, int *ret_fd);
/* The VM is awake, and gets what was typed while it slept; or it cannot be woken, and that is discarded. */
void console_go_on(Console *c, bool discard);
int console_adopt_attachment(Console *c, int fd, bool input);

int console_fd(const Console *c); /* stays the console's */

/* The last bytes of the history (0: all), in a sealed memory file, whether or not the VM runs. */
int console_read_history(Vm *vm, uint64_t max, int *ret_fd);
