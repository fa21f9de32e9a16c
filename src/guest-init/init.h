/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Images whose command is an init that looks after a machine (systemd, openrc-init, sysvinit, busybox): it becomes PID 1, and
 * the agent goes on as a process beside it, in a cgroup of its own, spared by systemd at the shutdown until the machine goes
 * off. An init that knows nothing of machines, as those written for containers do (/init), is no more than a command, but the
 * first process of a PID namespace (command.h): it may end, and PID 1 must not. */

#include "guest-init/guest.h"

/* Whether the program in config.args is one of the former; notes which. */
bool init_is_for_machines(Guest *g);

/* Forks: returns in the child, which is the agent from now on; PID 1 executes config.args and never returns. READY or
 * BOOT_FAILED follow when execve() has answered. 0, or -errno with a sentence, nothing having been forked. */
int init_start(Guest *g, char **ret_why);

/* Asks PID 1 to bring the machine down, in the way it understands. */
void init_ask(const Guest *g, GpShutdown mode);
