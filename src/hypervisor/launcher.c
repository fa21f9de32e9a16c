/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "hypervisor/launch-protocol.h"
#include "shared/program-path.h"

#define PATIENCE_MSEC 2000
/* More than the drivers have kinds. */
#define SERVERS_MAX 8

typedef struct Server {
        pid_t pid;
        int fd;          /* -EBADF: not running */
        char *kind;      /* for good */
        size_t n_kind;
        uint64_t made_of;
        bool ordered;    /* a process is being made, or is in the socket */
} Server;

static Server servers[SERVERS_MAX];
static size_t n_servers;

static void posix_spawnattr_destroyp(posix_spawnattr_t *a) {
        (void) posix_spawnattr_destroy(a);
}

static void posix_spawn_file_actions_destroyp(posix_spawn_file_actions_t *a) {
        (void) posix_spawn_file_actions_destroy(a);
}

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

/* Kills before it waits: one that is stopped does not notice anything else. */
static void reap(pid_t pid) {
        (void) kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

/* The process groups of launchers that ended, in which there still is a process: ordered from one that was stopped or
 * killed before it could tell us, it ends with its control socket, as our child. */
static pid_t groups[SERVERS_MAX];

/* True when nobody is left in it, or ever was. */
static bool reap_group(pid_t group) {
        siginfo_t si;

        do {
                si = (siginfo_t) {};
                if (waitid(P_PGID, (id_t) group, &si, WEXITED | WNOHANG) < 0)
                        return errno != EINTR;
        } while (si.si_pid != 0);
        return false;
}

static void reap_groups(pid_t more) {
        for (size_t i = 0; i < SERVERS_MAX; i++) {
                if (groups[i] > 0 && reap_group(groups[i]))
                        groups[i] = 0;
                if (groups[i] == 0 && more > 0) {
                        groups[i] = reap_group(more) ? 0 : more;
                        more = 0;
                }
        }
}

void launched_end(Launched *l) {
        l->control_fd = safe_close(l->control_fd);
        l->pidfd = safe_close(l->pidfd);
        reap(l->pid);
}

static int receive(Server *s, Launched *ret) {
        LaunchReply reply;
        size_t n_fds;
        ssize_t n;
        int fds[2];

        n = receive_fds(s->fd, &reply, sizeof(reply), fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return (int) n;
        s->ordered = false; /* that was the answer, whatever it is */
        if (n <= 0)
                return n < 0 ? (int) n : -EPIPE;
        if (n == sizeof(reply) && reply.error != 0)
                return -abs(reply.error);
        if (n != sizeof(reply) || n_fds != ELEMENTSOF(fds) || reply.pid <= 1) {
                close_many(fds, n_fds);
                return -EPROTO;
        }
        *ret = (Launched) { .pid = reply.pid, .pidfd = fds[0], .control_fd = fds[1] };
        return 0;
}

/* -ETIME: it is stopped or stuck, for it does one system call in between. */
static int wait_for(Server *s, Launched *ret) {
        struct pollfd p = { .fd = s->fd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, PATIENCE_MSEC);
        while (r < 0 && errno == EINTR);
        if (r == 0)
                s->ordered = false; /* nothing to wait for any more */
        return r < 0 ? negative_errno() : r == 0 ? -ETIME : receive(s, ret);
}

static int order(Server *s) {
        if (s->ordered)
                return 0;
        if (send(s->fd, s->kind, s->n_kind, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                return negative_errno();
        s->ordered = true;
        return 0;
}

/* What was ordered is fetched first, or nobody would ever wait for it. */
static void server_stop(Server *s) {
        Launched l;

        if (s->fd < 0)
                return;
        if (s->ordered && wait_for(s, &l) >= 0)
                launched_end(&l);
        s->fd = safe_close(s->fd);
        s->ordered = false;
        reap(s->pid);
        reap_groups(s->pid);
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

/* One whose root failed has ended after it said so. */
static void bury_the_dead(void) {
        reap_groups(0);
        for (Server *s = servers; s < servers + n_servers; s++) {
                siginfo_t si = {};

                if (s->fd >= 0 && waitid(P_PID, (id_t) s->pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid != 0)
                        server_stop(s);
        }
}

/* When there are too many, the oldest goes. */
static int server_find(const char *kind, size_t n_kind, uint64_t made_of, Server **ret) {
        char *copy;
        Server *s;

        for (s = servers; s < servers + n_servers; s++)
                if (s->n_kind == n_kind && memcmp(s->kind, kind, n_kind) == 0) {
                        if (s->made_of != made_of)
                                server_stop(s);
                        s->made_of = made_of;
                        *ret = s;
                        return 0;
                }
        copy = memdup(kind, n_kind);
        if (!copy)
                return -ENOMEM;
        if (n_servers == SERVERS_MAX) {
                server_stop(&servers[0]);
                free(servers[0].kind);
                memmove(servers, servers + 1, --n_servers * sizeof(*servers));
        }
        s = &servers[n_servers++];
        *s = (Server) { .fd = -EBADF, .kind = copy, .n_kind = n_kind, .made_of = made_of };
        *ret = s;
        return 0;
}

static int take(Server *s, Launched *ret) {
        int r = 0;

        if (s->fd < 0)
                r = server_start(s);
        if (r >= 0)
                r = order(s);
        return r < 0 ? r : wait_for(s, ret);
}

/* It may have died since it was put into the socket. */
static bool is_alive(const Launched *l) {
        struct pollfd p = { .fd = l->pidfd, .events = POLLIN };

        return poll(&p, 1, 0) == 0;
}

int launcher_take(const char *kind, size_t n_kind, uint64_t made_of, Launched *ret) {
        Server *s;
        int r;

        bury_the_dead();
        r = server_find(kind, n_kind, made_of, &s);
        for (unsigned tries = 0; r >= 0 && tries < 2; tries++) {
                r = take(s, ret);
                if (r >= 0 && !is_alive(ret)) {
                        launched_end(ret);
                        r = -ESRCH;
                }
                if (r >= 0) {
                        /* The one that made it may be gone (its root failed), which is for the next to find. */
                        (void) order(s);
                        return 0;
                }
                if (r != -ESRCH)
                        server_stop(s);
                if (tries == 0)
                        r = 0;
        }
        return r;
}
