/* SPDX-License-Identifier: Apache-2.0 */

/* The process that becomes a VMM. */

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/string-util.h"
#include "hypervisor/launch.h"
#include "hypervisor/memory-image.h"

int launch_failed(Launch *l, int error, const char *format, ...) {
        va_list ap;
        int k;

        error = error < 0 ? -error : error;
        va_start(ap, format);
        k = vsnprintf(l->report.text, sizeof(l->report.text), format, ap);
        va_end(ap);
        if (k >= 0 && (size_t) k < sizeof(l->report.text) - 1)
                (void) snprintf(l->report.text + k, sizeof(l->report.text) - (size_t) k, ": %s.", strerror(error));
        l->report.error = error ?: EIO;
        return -l->report.error;
}

int launch_refused(Launch *l, int error, const char *text) {
        (void) snprintf(l->report.text, sizeof(l->report.text), "%s", text);
        l->report.error = abs(error) ?: EIO;
        return -l->report.error;
}

static void report(const Launch *l) {
        (void) send(l->control_fd, &l->report, sizeof(l->report), MSG_NOSIGNAL);
}

/* Puts the VMM's fds, those to load from and to, the control socket and the errors pipe where they belong and closes
 * everything else. First all are moved out of the way of each other. */
static int arrange_fds(Launch *l, const int fds[], size_t n_fds) {
        int high[LAUNCH_FDS_MAX + 2], above = LAUNCH_FD_FIRST + LAUNCH_FDS_MAX + 2, ours;

        for (size_t i = 0; i < n_fds; i++) {
                high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, above);
                if (high[i] < 0)
                        return negative_errno();
        }
        for (size_t i = 0; i + 1 < n_fds; i++)
                if (dup2(high[i], LAUNCH_FD_FIRST + (int) i) < 0)
                        return negative_errno();
        if (dup2(high[n_fds - 1], STDOUT_FILENO) < 0 || dup2(high[n_fds - 1], STDERR_FILENO) < 0)
                return negative_errno();
        l->control_fd = LAUNCH_FD_FIRST + (int) n_fds - 2;
        ours = l->control_fd - (int) l->n_load;
        l->image_fd = l->n_load > 0 ? ours : -EBADF;
        l->memory_fd = l->n_load > 0 ? ours + 1 : -EBADF;
        if (close_range((unsigned) l->control_fd + 1, ~0U, 0) < 0 ||
            close_range((unsigned) ours, (unsigned) l->control_fd, CLOSE_RANGE_CLOEXEC) < 0)
                return negative_errno();
        return 0;
}

/* 1: go on; 0: we are not wanted any more. */
static int wait_for_release(const Launch *l) {
        char c;
        ssize_t n;

        do
                n = recv(l->control_fd, &c, 1, 0);
        while (n < 0 && errno == EINTR);
        return n == 1 && c == LAUNCH_GO;
}

/* Everything but the exec, and before the release: systemd makes the scope meanwhile. */
static int prepare(Launch *l, const LaunchFilter *filter) {
        int r;

        r = launch_limits(l);
        if (r >= 0)
                r = launch_drop_privileges(l);
        if (r >= 0)
                r = launch_seccomp_load(l, filter);
        return r;
}

/* By the uid of the VM, in its scope, and with nothing that uid must not have. The daemon hears how it went, and has the VMM look at
 * the memory only then. */
static void load(Launch *l) {
        _cleanup_free_ char *why = NULL;
        int r;

        r = memory_image_load(l->image_fd, l->memory_fd, &why);
        if (r < 0)
                (void) launch_refused(l, r, why ?: "Cannot load the guest's memory.");
        l->report.loaded = r >= 0;
        report(l);
}

/* After the release: the memory is then charged to the VM. Beside the VMM, which needs as long to get ready; by a process that is
 * not its child, for nobody there would reap it. */
static int load_beside(Launch *l) {
        _cleanup_free_ char *why = NULL;
        pid_t pid;
        int r;

        if (l->n_load == 0)
                return 0;
        r = memory_image_check_new(l->memory_fd, &why);
        if (r < 0)
                return launch_refused(l, r, why ?: "Cannot load the guest's memory.");
        pid = fork();
        if (pid < 0)
                return launch_failed(l, errno, "Cannot make a process that loads the guest's memory");
        if (pid > 0)
                return waitpid(pid, NULL, 0) < 0 ? launch_failed(l, errno, "Cannot wait for who loads the guest's memory") : 0;
        if (fork() == 0)
                load(l);
        _exit(0); /* when the second fork failed, the end of the socket tells the daemon that nothing was loaded */
}

static void execute(Launch *l) {
        char *const environment[] = { (char *) "LANG=C.UTF-8", NULL };

        report(l); /* error is 0: what comes next is the exec */
        (void) execve(l->argv[0], l->argv, environment);
        (void) launch_failed(l, errno, "Cannot execute %s", l->argv[0]);
}

void launch_process(const Launch *root, int control_fd, const LaunchFilter *filter) {
        static char request[LAUNCH_REQUEST_MAX];
        int fds[LAUNCH_FDS_MAX + 1];
        char *words[LAUNCH_WORDS_MAX + 1];
        Launch l = { .control_fd = -EBADF, .image_fd = -EBADF, .memory_fd = -EBADF };
        size_t n_fds;
        ssize_t size;

        size = receive_fds(control_fd, request, sizeof(request), fds, LAUNCH_FDS_MAX, &n_fds, 0);
        if (size == 0)
                _exit(0); /* nobody wanted us */
        /* Until here in the server's process group, by which the daemon finds those it was not told of. */
        (void) setsid();
        if (size < 0 || launch_parse(&l, request, (size_t) size, n_fds, words) < 0)
                _exit(2); /* the daemon sees the end of the control socket */
        /* The VMM's, those to load, control, errors. */
        fds[n_fds] = fds[n_fds - 1];
        fds[n_fds - 1] = control_fd;
        if (arrange_fds(&l, fds, n_fds + 1) < 0)
                _exit(2);
        memcpy(l.groups, root->groups, sizeof(l.groups));
        l.n_groups = root->n_groups;
        l.report = root->report;
        if (l.report.error == 0 && (l.n_kind != root->n_kind || memcmp(l.kind, root->kind, l.n_kind) != 0))
                (void) launch_failed(&l, EINVAL, "Cannot start a VMM in the root of another kind");
        if (l.report.error == 0 && prepare(&l, filter) >= 0) {
                if (!wait_for_release(&l))
                        _exit(0);
                if (load_beside(&l) >= 0)
                        execute(&l);
        }
        report(&l);
        _exit(1); /* nothing is open that would want to be flushed */
}
