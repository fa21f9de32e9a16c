/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The VM's own command: what the image is there for. It runs on the console; its end is the VM's end. */

#include "guest-init/guest.h"
#include "guest-init/user.h"

/* Starts config.args; with config.init as the first process of a PID namespace, in which all commands of the host run, too:
 * it finds itself as PID 1, and what it leaves behind ends with it. READY or BOOT_FAILED follow when execve() has answered. 0, or -errno with a sentence. */
int command_start(Guest *g, char **ret_why);

/* What command_start() and init_start() begin with: user and environment by the configuration, the working directory made.
 * 0, or -errno with a sentence. */
int command_prepare(Guest *g, User *ret_user, char ***ret_environment, char **ret_why);

/* True when pid was the command; reports its end and begins the power-off. */
bool command_reaped(Guest *g, pid_t pid, int status);
