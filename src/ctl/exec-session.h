/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A command in a guest as if it ran here: its streams, its terminal, the signals meant for it and its exit status.
 * What exec and run have in common. The bus is needed for the opening only; after it three sockets are all there is. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct ExecSession ExecSession;

typedef struct ExecSessionOptions {
        bool interactive, tty;
        const char *user, *directory; /* NULL: the VM's */
        char *const *environment;
        uint64_t patience_usec; /* how long after SIGTERM or SIGHUP the command may take to end; 0: as it likes */
} ExecSessionOptions;

/* command and options (their strings included) must outlive the session. */
int exec_session_open(sd_bus *bus, const char *path, const char *vm, char *const *command, const ExecSessionOptions *options,
                      ExecSession **ret, sd_bus_error *error);
ExecSession *exec_session_free(ExecSession *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(ExecSession *, exec_session_free);
#define _cleanup_exec_session_ _cleanup_(exec_session_freep)

/* Until the command has ended: its exit status, as a shell would have it, or STATUS_EXEC, reported. */
int exec_session_run(ExecSession *s);
