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
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "hypervisor/launch.h"

static int reply(int error, pid_t pid, int pidfd, int control_fd) {
        const LaunchReply content = { .error = error, .pid = pid };
        const int fds[] = { pidfd, control_fd };

        return send_fds(LAUNCH_SERVER_FD, &content, sizeof(content), fds, error == 0 ? ELEMENTSOF(fds) : 0, 0);
}

/* fork(), but the child is our parent's: the daemon waits for its VMMs itself. No libc function does that; nothing
 * of what fork() does beyond the system call is needed by a process without threads. Not clone3(): the unit's
 * RestrictNamespaces= takes it away. */
static pid_t fork_sibling(int *ret_pidfd) {
        return (pid_t) syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | CLONE_NEWNS | SIGCHLD, NULL, ret_pidfd, NULL, NULL);
}

/* The first order tells which root our VMMs have: all that come have the same one. A failure is for the process to
 * report, which knows how; we do not outlive it. */
static int make_root(Launch *root, char *text, size_t size) {
        char *words[LAUNCH_WORDS_MAX + 1];
        Launch l = {};
        int r;

        if (root->kind)
                return 0;
        r = launch_parse_kind(&l, text, size, words);
        if (r < 0)
                return r;
        root->kind = memdup(l.kind, l.n_kind);
        if (!root->kind)
                return -ENOMEM;
        root->n_kind = l.n_kind;
        if (launch_raise_oom_score(&l) >= 0)
                (void) launch_mounts(&l);
        memcpy(root->groups, l.groups, sizeof(l.groups));
        root->n_groups = l.n_groups;
        root->report = l.report;
        return 0;
}

static int make_process(const Launch *root, const LaunchFilter *filter) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF, pidfd = -EBADF;
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return reply(errno, 0, -EBADF, -EBADF);
        theirs = pair[0];
        ours = pair[1];
        pid = fork_sibling(&pidfd);
        if (pid == 0) {
                /* Of the server's socket it must have no copy, or the server's end would not be noticed. */
                if (dup2(ours, LAUNCH_SERVER_FD) < 0 || close_range(LAUNCH_SERVER_FD + 1, ~0U, 0) < 0)
                        _exit(2);
                launch_process(root, LAUNCH_SERVER_FD, filter);
        }
        return reply(pid < 0 ? errno : 0, pid, pidfd, theirs);
}

/* 1: go on. */
static int serve(Launch *root, const LaunchFilter *filter) {
        static char text[LAUNCH_REQUEST_MAX];
        int fds[LAUNCH_FDS_MAX], r;
        size_t n_fds;
        ssize_t size;

        size = receive_fds(LAUNCH_SERVER_FD, text, sizeof(text), fds, ELEMENTSOF(fds), &n_fds, 0);
        close_many(fds, n_fds);
        if (size <= 0)
                return (int) size; /* 0: the daemon is gone */
        r = make_root(root, text, (size_t) size);
        if (r >= 0)
                r = make_process(root, filter);
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
