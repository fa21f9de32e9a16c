/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A login shell on the console, for whoever presses Enter there. Again and again. */

#include "guest-init/guest.h"

#define CONSOLE_TERM "vt220"

/* Opens the terminal behind /dev/console (which itself cannot be anybody's controlling terminal): fd or -errno. */
int console_open(int flags);

/* Asks for Enter. */
void console_shell_offer(Guest *g);

/* True when pid was the shell; offers the next one. */
bool console_shell_reaped(Guest *g, pid_t pid);

void console_shell_stop(Guest *g);
