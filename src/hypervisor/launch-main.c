/* SPDX-License-Identifier: Apache-2.0 */

/* hero-vmm-launch: started by hero-computed as root, waits to be put into its scope, becomes the VMM.
 *
 * Everything that can be prepared is done while PID 1 makes the scope; from the release to the exec only what
 * has to be done in the scope is left. */

#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "hypervisor/launch.h"

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

static void report(const Launch *l) {
        (void) send(l->control_fd, &l->report, sizeof(l->report), MSG_NOSIGNAL);
}

static int parse_id(const char *s, unsigned *ret) {
        return parse_uint(s, UINT32_MAX - 1, ret) < 0 || *ret == 0 ? -EINVAL : 0;
}

static int add(const char *list[], size_t *n, const char *path) {
        if (*n >= LAUNCH_PATHS_MAX || path[0] != '/')
                return -EINVAL;
        list[(*n)++] = path;
        return 0;
}

static int parse_option(Launch *l, const char *arg) {
        const char *v;

        v = startswith(arg, LAUNCH_PATH);
        if (v)
                return add(l->paths, &l->n_paths, v);
        v = startswith(arg, LAUNCH_DEVICE);
        if (v)
                return add(l->devices, &l->n_devices, v);
        if (!streq(arg, LAUNCH_PROC))
                return -EINVAL;
        l->proc = true;
        return 0;
}

static int parse_argv(Launch *l, int argc, char *argv[]) {
        unsigned n_fds;

        if (argc < 6 || parse_uint(argv[1], 1000, &n_fds) < 0 || parse_id(argv[2], &l->uid) < 0 ||
            parse_id(argv[3], &l->gid) < 0)
                return -EINVAL;
        l->control_fd = LAUNCH_FD_FIRST + (int) n_fds;
        for (int i = 4; i < argc; i++) {
                if (streq(argv[i], LAUNCH_COMMAND)) {
                        l->argv = argv + i + 1;
                        return l->argv[0] ? 0 : -EINVAL;
                }
                if (parse_option(l, argv[i]) < 0)
                        return -EINVAL;
        }
        return -EINVAL;
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

/* A daemon that protects itself from the OOM killer must not protect its guests with it, and when memory runs
 * out, a guest is the better victim than what runs the host. Raising needs no privilege. */
static int raise_oom_score(Launch *l) {
        FILE *f = fopen("/proc/self/oom_score_adj", "we");

        if (!f)
                return launch_failed(l, errno, "Cannot open /proc/self/oom_score_adj");
        (void) fputs("100", f);
        if (fclose(f) != 0)
                return launch_failed(l, errno, "Cannot set the OOM score");
        return 0;
}

static int become_vmm(Launch *l, scmp_filter_ctx filter) {
        char *const environment[] = { (char *) "LANG=C.UTF-8", NULL };
        int r;

        r = raise_oom_score(l);
        if (r >= 0)
                r = launch_mounts(l);
        if (r >= 0)
                r = launch_limits(l);
        if (r >= 0)
                r = launch_drop_privileges(l);
        if (r >= 0)
                r = launch_seccomp_load(l, filter);
        if (r < 0)
                return r;
        report(l); /* error is 0: what comes next is the exec */
        (void) execve(l->argv[0], l->argv, environment);
        return launch_failed(l, errno, "Cannot execute %s", l->argv[0]);
}

int main(int argc, char *argv[]) {
        scmp_filter_ctx filter = NULL;
        Launch l = { .control_fd = -EBADF };
        int r;

        if (parse_argv(&l, argc, argv) < 0) {
                fprintf(stderr, "%s is started by hero-computed.\n", LAUNCH_PROGRAM);
                return 2;
        }
        (void) umask(0077);
        /* Nobody may look into us once we have the VMM's uid (the change of the uid does it again). */
        (void) prctl(PR_SET_DUMPABLE, 0);
        if (close_range((unsigned) l.control_fd, (unsigned) l.control_fd, CLOSE_RANGE_CLOEXEC) < 0 ||
            close_range((unsigned) l.control_fd + 1, ~0U, 0) < 0)
                r = launch_failed(&l, errno, "Cannot close file descriptors");
        else
                r = launch_seccomp_new(&l, &filter);
        if (!wait_for_release(&l))
                _exit(0);
        if (r >= 0)
                (void) become_vmm(&l, filter);
        report(&l);
        _exit(1); /* nothing is open that would want to be flushed */
}
