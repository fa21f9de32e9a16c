/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The VM's serial console on our standard streams, until Ctrl-] is pressed three times within a second on a terminal, or
 * the VM stops, or a signal comes. What console and run have in common. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct ConsoleSession ConsoleSession;

/* history: what the console wrote before comes first. input: standard input goes to the console. */
int console_session_open(sd_bus *bus, const char *path, const char *vm, bool history, bool input, ConsoleSession **ret,
                         sd_bus_error *error);
ConsoleSession *console_session_free(ConsoleSession *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(ConsoleSession *, console_session_free);
#define _cleanup_console_session_ _cleanup_(console_session_freep)

/* 0, STATUS_SIGNAL + the signal that ended it, STATUS_FAILURE; -errno, reported. *ret_left: by Ctrl-]; the VM goes on. */
int console_session_run(ConsoleSession *c, bool *ret_left);
