/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The process behind an exec session: pipes or a terminal, user, environment, fork. */

#include "guest-init/boot-config.h"
#include "guest-init/exec-request.h"
#include "guest-init/spawn.h"

/* Our ends, all non-blocking. With a terminal input_fd and output_fds[0] are both its master, and there is no
 * output_fds[1]. */
typedef struct SessionProcess {
        pid_t pid;
        int error_fd; /* see spawn() */
        int input_fd, output_fds[2];
} SessionProcess;

#define SESSION_PROCESS_NONE \
        ((SessionProcess) { .error_fd = -EBADF, .input_fd = -EBADF, .output_fds = { -EBADF, -EBADF } })

void session_process_done(SessionProcess *p);

/* What the request leaves open comes from the boot configuration. -errno, for what a person can understand with
 * a sentence in *ret_why (allocated). */
int session_process_start(const BootConfig *config, const ExecRequest *e, SessionProcess *ret, char **ret_why);
