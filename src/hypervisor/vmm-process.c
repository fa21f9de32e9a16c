/* SPDX-License-Identifier: Apache-2.0 */

/* The daemon's side of starting a VMM: have a blocked process made, release it, hear how it went. */

#include "hypervisor/vmm-process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "hypervisor/launch-protocol.h"
#include "shared/program-path.h"

#define PATIENCE_MSEC 2000
#define LAST_WORDS_MAX 500u
#define ERRORS_PIPE_SIZE 4096

static void posix_spawnattr_destroyp(posix_spawnattr_t *a) {
        (void) posix_spawnattr_destroy(a);
}

static void posix_spawn_file_actions_destroyp(posix_spawn_file_actions_t *a) {
        (void) posix_spawn_file_actions_destroy(a);
}

/* The words of a request, one behind the other. kind: those that make the root, from the first path to the program. */
typedef struct Request {
        char buf[LAUNCH_REQUEST_MAX];
        size_t n, kind, n_kind;
        int error;
} Request;

static void add_word(Request *q, const char *prefix, const char *word) {
        size_t a = strlen(prefix), b = strlen(word) + 1;

        if (q->error < 0 || a + b > sizeof(q->buf) - q->n) {
                q->error = -E2BIG;
                return;
        }
        memcpy(q->buf + q->n, prefix, a);
        memcpy(q->buf + q->n + a, word, b);
        q->n += a + b;
}

static void add_number(Request *q, unsigned long n) {
        char buf[32];

        (void) snprintf(buf, sizeof(buf), "%lu", n);
        add_word(q, "", buf);
}

static int request_build(Request *q, const VmmCommand *c, const VmmSandbox *s, uid_t uid, gid_t gid) {
        q->n = 0;
        q->error = 0;
        add_number(q, c->n_fds);
        add_number(q, uid);
        add_number(q, gid);
        q->kind = q->n;
        for (size_t i = 0; s->paths && s->paths[i]; i++)
                add_word(q, LAUNCH_PATH, s->paths[i]);
        for (size_t i = 0; s->devices && s->devices[i]; i++)
                add_word(q, LAUNCH_DEVICE, s->devices[i]);
        if (s->proc)
                add_word(q, "", LAUNCH_PROC);
        add_word(q, "", LAUNCH_COMMAND);
        STRV_FOREACH(i, c->argv) {
                add_word(q, "", *i);
                if (i == c->argv)
                        q->n_kind = q->n - q->kind;
        }
        return q->error;
}

static void mix(uint64_t *hash, uint64_t value) {
        *hash = (*hash ^ value) * UINT64_C(0x100000001b3);
}

static void mix_file(uint64_t *hash, const char *path) {
        struct stat st;

        if (stat(path, &st) < 0)
                st = (struct stat) {};
        mix(hash, st.st_dev);
        mix(hash, st.st_ino);
        mix(hash, st.st_rdev);
}

/* What a root was made of: another package's program, a device that has come meanwhile, are another root. */
static uint64_t root_hash(const VmmCommand *c, const VmmSandbox *s) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; s->paths && s->paths[i]; i++)
                mix_file(&hash, s->paths[i]);
        for (size_t i = 0; s->devices && s->devices[i]; i++)
                mix_file(&hash, s->devices[i]);
        mix_file(&hash, c->argv[0]);
        return hash;
}

/* A launcher, one per kind of root, started with the first VM of that kind and again should it have died. Its socket
 * does not survive an exec, and it does not survive its socket. */
typedef struct Server {
        pid_t pid;
        int fd;
        char *kind;
        size_t n_kind;
        uint64_t hash;
} Server;

/* More than the drivers have kinds. */
#define SERVERS_MAX 8
static Server servers[SERVERS_MAX];
static size_t n_servers;

static int server_attributes(posix_spawnattr_t *a) {
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

static int server_spawn(const char *path, int fd, pid_t *ret) {
        _cleanup_(posix_spawn_file_actions_destroyp) posix_spawn_file_actions_t a;
        _cleanup_(posix_spawnattr_destroyp) posix_spawnattr_t attr;
        char *const argv[] = { (char *) LAUNCH_PROGRAM, NULL }, *const environment[] = { NULL };
        int r;

        (void) posix_spawn_file_actions_init(&a); /* cannot fail in glibc */
        (void) posix_spawnattr_init(&attr);
        r = server_attributes(&attr);
        if (r < 0)
                return r;
        r = posix_spawn_file_actions_addopen(&a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&a, fd, LAUNCH_SERVER_FD);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(&a, LAUNCH_SERVER_FD + 1);
        if (r == 0)
                r = posix_spawn(ret, path, &a, &attr, argv, environment);
        return -r;
}

static int server_start(Server *s) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        _cleanup_free_ char *path = program_path(LAUNCH_PROGRAM);
        int pair[2], r;

        if (!path)
                return -ENOMEM;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        ours = pair[0];
        theirs = pair[1];
        r = server_spawn(path, theirs, &s->pid);
        if (r < 0)
                return r;
        s->fd = TAKE_FD(ours);
        return 0;
}

static void server_stop(Server *s) {
        if (s->fd < 0)
                return;
        s->fd = safe_close(s->fd);
        /* It is stuck, dead or of no use; not to wait for it would leave a zombie, to wait for one that is stuck, us. */
        (void) kill(s->pid, SIGKILL);
        (void) waitpid(s->pid, NULL, 0);
}

/* Each has its kind for good; when there are too many, the oldest goes. */
static int server_find(const Request *q, uint64_t hash, Server **ret) {
        char *kind;
        Server *s;

        for (s = servers; s < servers + n_servers; s++)
                if (s->n_kind == q->n_kind && memcmp(s->kind, q->buf + q->kind, q->n_kind) == 0) {
                        if (s->hash != hash)
                                server_stop(s);
                        s->hash = hash;
                        *ret = s;
                        return 0;
                }
        kind = memdup(q->buf + q->kind, q->n_kind);
        if (!kind)
                return -ENOMEM;
        if (n_servers == SERVERS_MAX) {
                server_stop(&servers[0]);
                free(servers[0].kind);
                memmove(servers, servers + 1, --n_servers * sizeof(*servers));
        }
        s = &servers[n_servers++];
        *s = (Server) { .fd = -EBADF, .kind = kind, .n_kind = q->n_kind, .hash = hash };
        *ret = s;
        return 0;
}

static int send_request(const Server *s, const Request *q, const int fds[], size_t n_fds) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int) * LAUNCH_FDS_MAX)];
        } control = {};
        struct iovec iov = { (void *) q->buf, q->n };
        struct msghdr m = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = CMSG_SPACE(sizeof(int) * n_fds),
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        return sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? negative_errno() : 0;
}

static int receive_reply(const Server *s, pid_t *ret_pid, int *ret_pidfd) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int))];
        } control;
        LaunchReply reply;
        struct iovec iov = { &reply, sizeof(reply) };
        struct msghdr m = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c;
        ssize_t n;

        n = recvmsg(s->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0)
                return negative_errno();
        if (n == 0)
                return -EPIPE;
        if (n != sizeof(reply))
                return -EPROTO;
        if (reply.error != 0)
                return -abs(reply.error);
        c = CMSG_FIRSTHDR(&m);
        if (!c || c->cmsg_type != SCM_RIGHTS || reply.pid <= 1)
                return -EPROTO;
        memcpy(ret_pidfd, CMSG_DATA(c), sizeof(int));
        *ret_pid = reply.pid;
        return 0;
}

/* Waits for the answer as one waits for a vfork(): the launcher does one system call in between. The limit is for
 * one that is stopped or stuck. */
static int ask(Server *s, const Request *q, const int fds[], size_t n_fds, pid_t *ret_pid, int *ret_pidfd) {
        struct pollfd p;
        int r;

        if (s->fd < 0) {
                r = server_start(s);
                if (r < 0)
                        return r;
        }
        r = send_request(s, q, fds, n_fds);
        if (r < 0)
                return r;
        p = (struct pollfd) { .fd = s->fd, .events = POLLIN };
        do
                r = poll(&p, 1, PATIENCE_MSEC);
        while (r < 0 && errno == EINTR);
        return r < 0 ? negative_errno() : r == 0 ? -ETIME : receive_reply(s, ret_pid, ret_pidfd);
}

static bool server_is_broken(int error) {
        return error == -EPIPE || error == -ECONNRESET || error == -ETIME || error == -EPROTO;
}

static int spawn(Server *s, const Request *q, const int fds[], size_t n_fds, pid_t *ret_pid, int *ret_pidfd) {
        bool fresh = s->fd < 0;
        int r;

        r = ask(s, q, fds, n_fds, ret_pid, ret_pidfd);
        if (server_is_broken(r)) {
                server_stop(s);
                if (!fresh)
                        r = ask(s, q, fds, n_fds, ret_pid, ret_pidfd);
        }
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
        _cleanup_close_ int control = -EBADF, their_control = -EBADF, errors = -EBADF, their_errors = -EBADF;
        static Request request; /* large, and there is one loop */
        Server *server;
        int pair[2], fds[VMM_FDS_MAX + 2], pidfd, r;
        pid_t pid;

        assert(command && sandbox && ret);

        if (uid == 0 || gid == 0 || uid == (uid_t) -1 || gid == (gid_t) -1 || command->n_fds > VMM_FDS_MAX)
                return -EINVAL;
        if (!command->argv || !command->argv[0] || command->argv[0][0] != '/')
                return -EINVAL;
        r = request_build(&request, command, sandbox, uid, gid);
        if (r >= 0)
                r = server_find(&request, root_hash(command, sandbox), &server);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        control = pair[0];
        their_control = pair[1];
        r = errors_pipe(pair);
        if (r < 0)
                return r;
        errors = pair[0];
        their_errors = pair[1];

        memcpy(fds, command->fds, command->n_fds * sizeof(int));
        fds[command->n_fds] = their_control;
        fds[command->n_fds + 1] = their_errors;
        r = spawn(server, &request, fds, command->n_fds + 2, &pid, &pidfd);
        if (r < 0)
                return r;
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
