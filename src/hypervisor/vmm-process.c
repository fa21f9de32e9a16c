/* SPDX-License-Identifier: Apache-2.0 */

/* The daemon's side of starting a VMM: spawn the launcher blocked, release it, hear how it went. */

#include "hypervisor/vmm-process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "hypervisor/launch-protocol.h"
#include "hypervisor/program-path.h"

#define LAST_WORDS_MAX 500u
#define ERRORS_PIPE_SIZE 4096

static void posix_spawnattr_destroyp(posix_spawnattr_t *a) {
        (void) posix_spawnattr_destroy(a);
}

static void posix_spawn_file_actions_destroyp(posix_spawn_file_actions_t *a) {
        (void) posix_spawn_file_actions_destroy(a);
}

/* A source fd below the highest target could be overwritten by a dup2() before its own turn, so such ones are
 * first moved up. moved[i] is what has to be closed afterwards. */
static int lift_fd(int fd, int above, int *ret_moved) {
        if (fd < 0)
                return -EBADF;
        if (fd > above)
                return fd;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, above + 1);
        if (fd < 0)
                return negative_errno();
        *ret_moved = fd;
        return fd;
}

static int add_fds(posix_spawn_file_actions_t *a, const int fds[], size_t n, int moved[]) {
        for (size_t i = 0; i < n; i++) {
                int fd = lift_fd(fds[i], LAUNCH_FD_FIRST + (int) n, &moved[i]), r;

                if (fd < 0)
                        return fd;
                r = posix_spawn_file_actions_adddup2(a, fd, LAUNCH_FD_FIRST + (int) i);
                if (r != 0)
                        return -r;
        }
        return 0;
}

/* stdin is /dev/null, stdout and stderr are the errors pipe, then the VMM's fds and the control fd. */
static int file_actions(posix_spawn_file_actions_t *a, const int fds[], size_t n, int errors, int moved[]) {
        int r;

        r = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(a, errors, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(a, errors, STDERR_FILENO);
        if (r != 0)
                return -r;
        r = add_fds(a, fds, n, moved);
        if (r < 0)
                return r;
        return -posix_spawn_file_actions_addclosefrom_np(a, LAUNCH_FD_FIRST + (int) n);
}

static int attributes(posix_spawnattr_t *a) {
        sigset_t all, none;
        int r;

        sigfillset(&all);
        sigemptyset(&none);
        r = posix_spawnattr_setsigdefault(a, &all);
        if (r == 0)
                r = posix_spawnattr_setsigmask(a, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
        return -r;
}

static int launcher_argv(const VmmCommand *c, const VmmSandbox *s, uid_t uid, gid_t gid, char ***ret) {
        _cleanup_strv_free_ char **l = NULL;
        int r;

        r = strv_extend(&l, LAUNCH_PROGRAM);
        if (r >= 0)
                r = strv_extendf(&l, "%zu", c->n_fds);
        if (r >= 0)
                r = strv_extendf(&l, "%u", uid);
        if (r >= 0)
                r = strv_extendf(&l, "%u", gid);
        for (size_t i = 0; r >= 0 && s->paths && s->paths[i]; i++)
                r = strv_extendf(&l, LAUNCH_PATH "%s", s->paths[i]);
        for (size_t i = 0; r >= 0 && s->devices && s->devices[i]; i++)
                r = strv_extendf(&l, LAUNCH_DEVICE "%s", s->devices[i]);
        if (r >= 0 && s->proc)
                r = strv_extend(&l, LAUNCH_PROC);
        if (r >= 0)
                r = strv_extend(&l, LAUNCH_COMMAND);
        STRV_FOREACH(i, c->argv)
                if (r >= 0)
                        r = strv_extend(&l, *i);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

static int spawn(char **argv, const int fds[], size_t n_fds, int errors, pid_t *ret) {
        _cleanup_(posix_spawn_file_actions_destroyp) posix_spawn_file_actions_t actions;
        _cleanup_(posix_spawnattr_destroyp) posix_spawnattr_t attr;
        char *const environment[] = { NULL };
        _cleanup_free_ char *path = NULL;
        int moved[VMM_FDS_MAX + 1], r;

        (void) posix_spawn_file_actions_init(&actions); /* cannot fail in glibc */
        (void) posix_spawnattr_init(&attr);
        for (size_t i = 0; i < ELEMENTSOF(moved); i++)
                moved[i] = -EBADF;

        path = program_path(LAUNCH_PROGRAM);
        if (!path)
                return -ENOMEM;
        r = attributes(&attr);
        if (r >= 0)
                r = file_actions(&actions, fds, n_fds, errors, moved);
        if (r >= 0)
                r = -posix_spawn(ret, path, &actions, &attr, argv, environment);
        for (size_t i = 0; i < ELEMENTSOF(moved); i++)
                safe_close(moved[i]);
        return r;
}

/* Nobody reads the pipe while the VMM lives: what does not fit is dropped (O_NONBLOCK), and a page is enough. */
static int errors_pipe(int fds[static 2]) {
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return negative_errno();
        (void) fcntl(fds[0], F_SETPIPE_SZ, ERRORS_PIPE_SIZE);
        return 0;
}

int vmm_process_spawn(const VmmCommand *command, const VmmSandbox *sandbox, uid_t uid, gid_t gid, VmmProcess *ret) {
        _cleanup_close_ int control = -EBADF, launcher_control = -EBADF, errors = -EBADF, launcher_errors = -EBADF;
        int pair[2], fds[VMM_FDS_MAX + 1], pidfd, r;
        _cleanup_strv_free_ char **argv = NULL;
        pid_t pid;

        assert(command && sandbox && ret);

        if (uid == 0 || gid == 0 || uid == (uid_t) -1 || gid == (gid_t) -1 || command->n_fds > VMM_FDS_MAX)
                return -EINVAL;
        if (!command->argv || !command->argv[0] || command->argv[0][0] != '/')
                return -EINVAL;
        r = launcher_argv(command, sandbox, uid, gid, &argv);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        control = pair[0];
        launcher_control = pair[1];
        r = errors_pipe(pair);
        if (r < 0)
                return r;
        errors = pair[0];
        launcher_errors = pair[1];

        memcpy(fds, command->fds, command->n_fds * sizeof(int));
        fds[command->n_fds] = launcher_control;
        r = spawn(argv, fds, command->n_fds + 1, launcher_errors, &pid);
        if (r < 0)
                return r;
        /* Not reaped by anyone but our caller, so the pid is still this process whatever became of it. */
        pidfd = pidfd_open_pid(pid);
        if (pidfd < 0)
                return pidfd; /* control is closed now, which ends the launcher */
        *ret = (VmmProcess) {
                .pid = pid,
                .pidfd = pidfd,
                .control_fd = TAKE_FD(control),
                .errors_fd = TAKE_FD(errors),
        };
        return 0;
}

int vmm_process_release(VmmProcess *p) {
        static const char go = LAUNCH_GO;

        if (send(p->control_fd, &go, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                return negative_errno();
        return 0;
}

static int failed(VmmProcess *p, int error, const char *text, char **ret_text) {
        p->control_fd = safe_close(p->control_fd);
        *ret_text = text ? strdup(text) : NULL;
        return error;
}

int vmm_process_result(VmmProcess *p, char **ret_text) {
        LaunchReport report;
        ssize_t n;

        *ret_text = NULL;
        for (;;) {
                n = recv(p->control_fd, &report, sizeof(report), MSG_DONTWAIT);
                if (n < 0) {
                        if (errno == EAGAIN || errno == EINTR)
                                return 0;
                        return failed(p, negative_errno(), "The connection to the VMM's launcher broke.", ret_text);
                }
                if (n == 0 && p->executing) {
                        p->control_fd = safe_close(p->control_fd);
                        return 1;
                }
                if (n == 0)
                        return failed(p, -EPIPE, "The VMM's launcher ended before it started the VMM.", ret_text);
                if ((size_t) n < sizeof(report))
                        return failed(p, -EBADMSG, "The VMM's launcher spoke nonsense.", ret_text);
                if (report.error != 0) {
                        report.text[sizeof(report.text) - 1] = 0;
                        return failed(p, report.error > 0 ? -report.error : -EIO, report.text, ret_text);
                }
                p->executing = true;
        }
}

/* The last non-empty line of buf, every byte that is not printable ASCII replaced. */
static char *last_line(char *buf, size_t n) {
        char *line;

        while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r' || buf[n - 1] == ' '))
                n--;
        buf[n] = 0;
        line = memrchr(buf, '\n', n);
        line = line ? line + 1 : buf;
        if (strlen(line) > LAST_WORDS_MAX)
                line[LAST_WORDS_MAX] = 0;
        for (char *c = line; *c; c++)
                if (*c < ' ' || *c > '~')
                        *c = '?';
        return line;
}

int vmm_process_last_words(VmmProcess *p, char **ret) {
        char buf[ERRORS_PIPE_SIZE + 1], *line;
        ssize_t n;

        *ret = NULL;
        if (p->errors_fd < 0)
                return 0;
        n = read(p->errors_fd, buf, sizeof(buf) - 1);
        if (n < 0)
                return errno == EAGAIN ? 0 : negative_errno();
        /* A NUL in the middle must not hide what comes behind it. */
        for (ssize_t i = 0; i < n; i++)
                if (buf[i] == 0)
                        buf[i] = '?';
        line = last_line(buf, (size_t) n);
        if (isempty(line))
                return 0;
        *ret = strdup(line);
        return *ret ? 0 : -ENOMEM;
}

void vmm_process_done(VmmProcess *p) {
        p->pidfd = safe_close(p->pidfd);
        p->control_fd = safe_close(p->control_fd);
        p->errors_fd = safe_close(p->errors_fd);
}
