/* SPDX-License-Identifier: Apache-2.0 */

/* hero-vmm-launch: the server, see launch.h. Started by hero-computed as root, with its socket at fd 3. */

#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "hypervisor/launch.h"

static char request[LAUNCH_REQUEST_MAX];

/* Size of the request, 0 at the end. What is cut off or has too many fds is an error (-EMSGSIZE). */
static ssize_t receive(int fds[static LAUNCH_FDS_MAX], size_t *ret_n_fds) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int) * LAUNCH_FDS_MAX)];
        } control;
        struct iovec iov = { request, sizeof(request) };
        struct msghdr m = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c;
        ssize_t n;

        *ret_n_fds = 0;
        n = recvmsg(LAUNCH_SERVER_FD, &m, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return negative_errno();
        c = CMSG_FIRSTHDR(&m);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                *ret_n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(fds, CMSG_DATA(c), *ret_n_fds * sizeof(int));
        }
        return m.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : n;
}

static int reply(int error, pid_t pid, int pidfd) {
        LaunchReply content = { .error = error, .pid = pid };
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { &content, sizeof(content) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (pidfd >= 0) {
                struct cmsghdr *c;

                m.msg_control = &control;
                m.msg_controllen = sizeof(control);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &pidfd, sizeof(int));
        }
        return sendmsg(LAUNCH_SERVER_FD, &m, MSG_NOSIGNAL) < 0 ? negative_errno() : 0;
}

/* fork(), but the child is our parent's: the daemon waits for its VMMs itself. No libc function does that; nothing
 * of what fork() does beyond the system call is needed by a process without threads. Not clone3(): the unit's
 * RestrictNamespaces= takes it away. */
static pid_t fork_sibling(int *ret_pidfd) {
        return (pid_t) syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | CLONE_NEWNS | SIGCHLD, NULL, ret_pidfd, NULL, NULL);
}

/* The first request tells which root our VMMs have: all that come have the same one. A failure is for the process to
 * report, which knows how; we do not outlive it. */
static int make_root(Launch *root, char *text, size_t size, size_t n_fds) {
        char *words[LAUNCH_WORDS_MAX + 1];
        Launch l = {};
        int r;

        if (root->kind)
                return 0;
        r = launch_parse(&l, text, size, n_fds, words);
        if (r < 0)
                return r; /* so will the process see */
        root->kind = memdup(l.kind, l.n_kind);
        if (!root->kind)
                return -ENOMEM;
        root->n_kind = l.n_kind;
        r = launch_raise_oom_score(&l);
        if (r >= 0)
                r = launch_mounts(&l);
        memcpy(root->groups, l.groups, sizeof(l.groups));
        root->n_groups = l.n_groups;
        root->report = l.report;
        return r;
}

static int serve(Launch *root, const LaunchFilter *filter) {
        int fds[LAUNCH_FDS_MAX], pidfd = -EBADF, r;
        size_t n_fds;
        ssize_t size;
        pid_t pid = 0;

        size = receive(fds, &n_fds);
        if (size == -EINTR)
                return 1;
        if (size == 0 && n_fds == 0)
                return 0; /* the daemon is gone */
        if (size < 0 && size != -EMSGSIZE)
                return (int) size;
        if (size > 0) {
                (void) make_root(root, request, (size_t) size, n_fds);
                pid = fork_sibling(&pidfd);
                if (pid == 0)
                        launch_process(root, request, (size_t) size, fds, n_fds, filter);
        }
        r = reply(size < 0 ? (int) -size : pid < 0 ? errno : size == 0 ? EINVAL : 0, pid, pidfd);
        safe_close(pidfd);
        for (size_t i = 0; i < n_fds; i++)
                safe_close(fds[i]);
        return r < 0 ? r : root->report.error == 0;
}

static int prepare(LaunchFilter *ret) {
        int r;

        (void) umask(0077);
        /* Nobody may look into a process of ours once it has the VMM's uid (the change of the uid says so again). */
        (void) prctl(PR_SET_DUMPABLE, 0);
        r = launch_drop_bounding_set();
        if (r < 0) {
                fprintf(stderr, "Cannot empty the capability bounding set: %s.\n", strerror(-r));
                return r;
        }
        r = launch_seccomp_new(ret);
        if (r < 0)
                fprintf(stderr, "Cannot build the system call filter: %s.\n", strerror(-r));
        return r;
}

int main(void) {
        static Launch root = { .control_fd = -EBADF };
        LaunchFilter filter;
        struct stat st;
        int r;

        if (fstat(LAUNCH_SERVER_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
                fprintf(stderr, "%s is started by hero-computed.\n", LAUNCH_PROGRAM);
                return 2;
        }
        r = prepare(&filter);
        while (r >= 0) {
                r = serve(&root, &filter);
                if (r == 0)
                        break;
        }
        _exit(r < 0); /* nothing is to be flushed, and there is no /proc to look for leaks in */
}
