/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "guest-init/environment.h"

/* Everything below up to spawn() runs in the child. */

static void fail(int error_fd, SpawnStep step, int error) {
        SpawnError e = { .error = error, .step = step };

        (void) write_all(error_fd, &e, sizeof(e));
}

static void reset_signals(void) {
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void) signal(i, SIG_DFL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static int move_streams(const Spawn *s) {
        int fds[3] = { s->stdin_fd, s->stdout_fd, s->stderr_fd };

        /* First out of the way, for one of them may be 0, 1 or 2 itself. */
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
                if (fds[i] < 0)
                        return negative_errno();
        }
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                if (dup2(fds[i], (int) i) < 0)
                        return negative_errno();
        return 0;
}

static int become(const User *u) {
        if (setgroups(u->n_groups, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
                        setresuid(u->uid, u->uid, u->uid) < 0)
                return negative_errno();
        return 0;
}

static int enter_directory(const Spawn *s) {
        if (chdir(s->cwd ?: s->user->home) >= 0)
                return 0;
        if (s->cwd && !s->cwd_optional)
                return negative_errno();
        return chdir("/") < 0 ? negative_errno() : 0;
}

/* As a shell does: the first that can be executed; EACCES is remembered over ENOENT. */
static int execute(const Spawn *s) {
        const char *program = s->program ?: s->argv[0], *path;
        int error = ENOENT;

        if (isempty(program))
                return -ENOENT;
        if (strchr(program, '/')) {
                (void) execve(program, s->argv, s->environment);
                return negative_errno();
        }

        for (path = environment_get(s->environment, "PATH") ?: ""; *path;) {
                size_t n = strcspn(path, ":");
                char file[PATH_MAX];
                int k;

                k = snprintf(file, sizeof(file), "%.*s/%s", (int) n, n > 0 ? path : ".", program);
                if (k > 0 && (size_t) k < sizeof(file)) {
                        (void) execve(file, s->argv, s->environment);
                        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                                return negative_errno();
                        if (errno == EACCES)
                                error = EACCES;
                }
                path += n + (path[n] == ':');
        }
        return -error;
}

void spawn_in_place(const Spawn *s, int error_fd) {
        int r, entered;

        reset_signals();
        (void) umask(0022);

        r = move_streams(s);
        if (r < 0)
                return fail(error_fd, SPAWN_STREAMS, -r);
        /* Stolen (1) from a former session, which may not have let go of the console yet. */
        if (s->controlling_tty && ioctl(STDIN_FILENO, TIOCSCTTY, 1) < 0)
                return fail(error_fd, SPAWN_TTY, errno);
        if (s->first_process && mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) < 0)
                return fail(error_fd, SPAWN_PROC, errno);
        /* Whoever starts the user may lead him where he could not go; but what only he can enter, he may, too. */
        entered = enter_directory(s);
        r = become(s->user);
        if (r < 0)
                return fail(error_fd, SPAWN_USER, -r);
        if (entered < 0)
                entered = enter_directory(s);
        if (entered < 0)
                return fail(error_fd, SPAWN_CWD, -entered);
        r = execute(s);
        fail(error_fd, SPAWN_EXEC, -r);
}

static _Noreturn void child(const Spawn *s, int error_fd) {
        (void) setsid();
        spawn_in_place(s, error_fd);
        _exit(127);
}

int spawn(const Spawn *s, pid_t *ret_pid, int *ret_error_fd) {
        _cleanup_close_ int reader = -EBADF, writer = -EBADF;
        int p[2], r;
        pid_t pid;

        if (pipe2(p, O_CLOEXEC) < 0)
                return negative_errno();
        reader = p[0];
        writer = p[1];
        r = fd_nonblock(reader, true);
        if (r < 0)
                return r;

        pid = fork();
        if (pid < 0)
                return negative_errno();
        if (pid == 0) {
                /* Must not be among 0, 1, 2, which move_streams() replaces. */
                int fd = fcntl(writer, F_DUPFD_CLOEXEC, 3);

                child(s, fd >= 0 ? fd : writer);
        }

        *ret_pid = pid;
        *ret_error_fd = TAKE_FD(reader);
        return 0;
}

char *spawn_error_sentence(const SpawnError *e, const char *program, const char *cwd) {
        const char *why = strerror(e->error);

        switch (e->step) {
        case SPAWN_EXEC:
                if (e->error == ENOENT && !strchr(program, '/'))
                        return strprintf("There is no program %s in PATH", program);
                return strprintf("Cannot execute %s: %s", program, why);
        case SPAWN_CWD:
                return strprintf("Cannot change to directory %s: %s", strna(cwd), why);
        case SPAWN_USER:
                return strprintf("Cannot become the user: %s", why);
        case SPAWN_TTY:
                return strprintf("Cannot make the terminal the controlling one: %s", why);
        case SPAWN_PROC:
                return strprintf("Cannot mount /proc: %s", why);
        case SPAWN_STREAMS:
                return strprintf("Cannot connect the standard streams: %s", why);
        }
        return strprintf("Cannot start %s: %s", program, why);
}
