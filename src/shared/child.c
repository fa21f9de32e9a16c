/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"

#define OUTPUT_MAX (64u * 1024u) /* unless somebody wants more */
#define EXTRA_FD_FIRST 3
#define EXTRA_FDS_MAX 8u

struct Child {
        pid_t pid;
        sd_event_source *exit_source, *timeout_source;
        int out_fd;
        char *output;
        size_t output_max;
        bool timed_out;
        child_done_t done;
        void *userdata;
};

Child *child_free(Child *c) {
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->exit_source);
        sd_event_source_disable_unref(c->timeout_source);
        if (c->pid > 0) {
                (void) kill(c->pid, SIGKILL);
                (void) waitpid(c->pid, NULL, 0); /* it was just killed: this does not wait for anything it does */
        }
        safe_close(c->out_fd);
        free(c->output);
        return mfree(c);
}

void child_set_output_max(Child *c, size_t max) {
        c->output_max = max;
}

/* The output goes to an unlinked temporary (a memfd), so there is nothing to drain while the program runs. */
static void child_collect(Child *c) {
        struct stat st;
        size_t size;
        ssize_t k;

        if (fstat(c->out_fd, &st) < 0)
                return;
        size = MIN2((size_t) st.st_size, c->output_max);
        c->output = new0(char, size + 1);
        if (!c->output)
                return;
        k = pread(c->out_fd, c->output, size, 0);
        c->output[k < 0 ? 0 : k] = 0;
}

static int on_child_exit(sd_event_source *s, const siginfo_t *si, void *userdata) {
        _cleanup_(child_freep) Child *c = userdata;
        int status;

        c->pid = 0; /* sd-event reaps it */
        status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
        if (c->timed_out)
                status = -ETIME;
        child_collect(c);
        c->done(status, c->output ?: "", c->userdata);
        return 0;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Child *c = userdata;

        c->timed_out = true;
        (void) kill(c->pid, SIGKILL); /* unreaped, so the number is still ours */
        return 0;
}

int child_signal(Child *c, int signal) {
        /* Unreaped while there is a Child, so the number is still ours. */
        return kill(c->pid, signal) < 0 ? negative_errno() : 0;
}

/* Copies out of the way of the numbers they are to get. */
static int move_fds_up(const int fds[], size_t n_fds, int ret[]) {
        for (size_t i = 0; i < n_fds; i++) {
                ret[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, EXTRA_FD_FIRST + (int) n_fds);
                if (ret[i] < 0) {
                        int r = negative_errno();

                        close_many(ret, i);
                        return r;
                }
        }
        return 0;
}

/* Starts the program; fds are out of the way. */
static int child_spawn(Child *c, char *const *argv, const int fds[], size_t n_fds) {
        static char *const environment[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *) "LANG=C.UTF-8", NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r;

        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attr);
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, c->out_fd, STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions, c->out_fd, STDERR_FILENO);
        for (size_t i = 0; i < n_fds; i++)
                posix_spawn_file_actions_adddup2(&actions, fds[i], EXTRA_FD_FIRST + (int) i);
        posix_spawn_file_actions_addclosefrom_np(&actions, EXTRA_FD_FIRST + (int) n_fds);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setsigdefault(&attr, &all);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        r = -posix_spawn(&c->pid, argv[0], &actions, &attr, argv, environment);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attr);
        if (r < 0)
                c->pid = 0;
        return r;
}

int child_run_fds(sd_event *event, char *const *argv, const int fds[], size_t n_fds, uint64_t timeout_usec, child_done_t done,
                  void *userdata, Child **ret) {
        _cleanup_(child_freep) Child *c = NULL;
        int high[EXTRA_FDS_MAX], r;

        if (n_fds > EXTRA_FDS_MAX)
                return -E2BIG;
        c = new(Child, 1);
        if (!c)
                return -ENOMEM;
        *c = (Child) { .out_fd = -EBADF, .output_max = OUTPUT_MAX, .done = done, .userdata = userdata };
        c->out_fd = memfd_create("child-output", MFD_CLOEXEC);
        if (c->out_fd < 0)
                return negative_errno();
        r = move_fds_up(fds, n_fds, high);
        if (r < 0)
                return r;
        r = child_spawn(c, argv, high, n_fds);
        close_many(high, n_fds);
        if (r < 0)
                return r;
        r = sd_event_add_child(event, &c->exit_source, c->pid, WEXITED, on_child_exit, c);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(c->exit_source, "child-exit");
        if (timeout_usec != USEC_INFINITY) {
                r = sd_event_add_time_relative(event, &c->timeout_source, CLOCK_MONOTONIC, timeout_usec, 0, on_timeout, c);
                if (r < 0)
                        return r;
        }
        if (ret)
                *ret = c;
        TAKE_PTR(c);
        return 0;
}

int child_run(sd_event *event, char *const *argv, int extra_fd, uint64_t timeout_usec, child_done_t done,
              void *userdata, Child **ret) {
        return child_run_fds(event, argv, &extra_fd, extra_fd >= 0, timeout_usec, done, userdata, ret);
}
