/* SPDX-License-Identifier: Apache-2.0 */

/* The process that becomes a VMM. */

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "hypervisor/launch.h"

#define WORDS_MAX 1024

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

static int parse_words(Launch *l, char **words, size_t n, size_t n_fds) {
        unsigned n_handed;

        if (n < 5 || parse_uint(words[0], LAUNCH_FDS_MAX, &n_handed) < 0 || n_handed + 2 != n_fds ||
            parse_id(words[1], &l->uid) < 0 || parse_id(words[2], &l->gid) < 0)
                return -EINVAL;
        for (size_t i = 3; i < n; i++) {
                if (streq(words[i], LAUNCH_COMMAND)) {
                        l->argv = words + i + 1; /* ends with the NULL behind the last word */
                        return l->argv[0] ? 0 : -EINVAL;
                }
                if (parse_option(l, words[i]) < 0)
                        return -EINVAL;
        }
        return -EINVAL;
}

static int split_words(char *request, size_t size, char *words[static WORDS_MAX + 1], size_t *ret_n) {
        size_t n = 0;

        if (size == 0 || request[size - 1] != 0)
                return -EINVAL;
        for (char *p = request; p < request + size; p += strlen(p) + 1) {
                if (n >= WORDS_MAX)
                        return -E2BIG;
                words[n++] = p;
        }
        words[n] = NULL;
        *ret_n = n;
        return 0;
}

/* Puts the VMM's fds, the control socket and the errors pipe where they belong and closes everything else. First
 * all are moved out of the way of each other. */
static int arrange_fds(Launch *l, const int fds[], size_t n_fds) {
        int high[LAUNCH_FDS_MAX + 2], above = LAUNCH_FD_FIRST + LAUNCH_FDS_MAX + 2;

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
        if (close_range((unsigned) l->control_fd + 1, ~0U, 0) < 0 || fcntl(l->control_fd, F_SETFD, FD_CLOEXEC) < 0)
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

/* Everything but the exec, and before the release: systemd makes the scope meanwhile. */
static int prepare(Launch *l, const LaunchFilter *filter) {
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
        return r;
}

static void execute(Launch *l) {
        char *const environment[] = { (char *) "LANG=C.UTF-8", NULL };

        report(l); /* error is 0: what comes next is the exec */
        (void) execve(l->argv[0], l->argv, environment);
        (void) launch_failed(l, errno, "Cannot execute %s", l->argv[0]);
}

void launch_process(char *request, size_t size, const int fds[], size_t n_fds, const LaunchFilter *filter) {
        char *words[WORDS_MAX + 1];
        Launch l = { .control_fd = -EBADF };
        size_t n;

        (void) setsid();
        if (split_words(request, size, words, &n) < 0 || parse_words(&l, words, n, n_fds) < 0 ||
            arrange_fds(&l, fds, n_fds) < 0)
                _exit(2); /* the daemon sees the end of the control socket */
        if (prepare(&l, filter) >= 0) {
                if (!wait_for_release(&l))
                        _exit(0);
                execute(&l);
        }
        report(&l);
        _exit(1); /* nothing is open that would want to be flushed */
}
