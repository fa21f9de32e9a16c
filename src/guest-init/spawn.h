/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Starts a process of the image: session, streams, user, directory, environment, execve() with a search along
 * PATH. What goes wrong in the child comes back through a pipe that execve() closes. */

#include "guest-init/user.h"

typedef struct Spawn {
        char *const *argv;        /* argv[0] is searched for in PATH unless it has a slash */
        const char *program;      /* to execute instead of argv[0] (login shells); NULL: argv[0] */
        char *const *environment;
        const char *cwd;          /* NULL: the user's home, or "/" */
        bool cwd_optional;        /* "/" instead when cwd cannot be entered */
        const User *user;
        int stdin_fd, stdout_fd, stderr_fd;
        bool controlling_tty;     /* stdin_fd becomes the session's controlling terminal */
        bool first_process;       /* of the PID namespace that this process has made for its children: gets a /proc of it */
} Spawn;

typedef enum SpawnStep {
        SPAWN_EXEC,
        SPAWN_CWD,
        SPAWN_USER,
        SPAWN_TTY,
        SPAWN_STREAMS,
        SPAWN_PROC,
} SpawnStep;

typedef struct SpawnError {
        int error;      /* errno */
        SpawnStep step;
} SpawnError;

/* Forks. *ret_error_fd (non-blocking, close-on-exec) reads as end of file once the program was executed, or as
 * one SpawnError. 0 or -errno. */
int spawn(const Spawn *s, pid_t *ret_pid, int *ret_error_fd);

/* Without a fork and a session of its own: for PID 1, which becomes somebody else. Returns only when that failed, which has
 * been written to error_fd. */
void spawn_in_place(const Spawn *s, int error_fd);

/* A sentence for a person, allocated: "Cannot execute /bin/foo: No such file or directory". */
char *spawn_error_sentence(const SpawnError *e, const char *program, const char *cwd);
