/* SPDX-License-Identifier: Apache-2.0 */

/* Running hero-image-worker, see the header. Owned by builds and by imports. */

#include "imaged/worker-run.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "shared/log.h"
#include "shared/program-path.h"

struct WorkerRun {
        pid_t pid; /* 0 once it is reaped */
        sd_event_source *exit_source, *status_source;
        int status_fd;
        char line[WORKER_LINE_MAX];
        size_t n_line;
        bool bad_line;

        WorkerLine last; /* "done" or "error", once ended is set */
        bool ended;
        char *sentence;

        worker_line_t on_line;
        worker_end_t on_end;
        void *userdata;
};

WorkerRun *worker_run_free(WorkerRun *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->exit_source);
        sd_event_source_disable_unref(w->status_source);
        if (w->pid > 0) {
                (void) kill(w->pid, SIGKILL);
                (void) waitpid(w->pid, NULL, 0); /* was just killed: this waits for nothing it does */
        }
        safe_close(w->status_fd);
        free(w->sentence);
        return mfree(w);
}

static void run_end(WorkerRun *w, int error, const char *sentence) {
        _cleanup_(worker_run_freep) WorkerRun *owned = w;

        w->on_end(error, sentence, &w->last, w->userdata);
}

static void take_line(WorkerRun *w) {
        WorkerLine l;

        if (w->ended || worker_line_parse(w->line, &l) < 0) {
                w->bad_line = true;
                return;
        }
        switch (l.type) {
        case WORKER_PROGRESS:
        case WORKER_LAYER:
        case WORKER_ENTRY:
                if (w->on_line(&l, w->userdata) < 0)
                        w->bad_line = true;
                break;
        case WORKER_ERROR:
                w->sentence = strdup(l.sentence);
                /* fall through */
        case WORKER_DONE:
                w->last = l;
                w->ended = true;
        }
}

/* One piece of what the worker says. > 0: there may be more. */
static int read_status(WorkerRun *w) {
        char buf[4096];
        ssize_t n;

        n = read(w->status_fd, buf, sizeof(buf));
        if (n < 0)
                return errno == EINTR ? 1 : errno == EAGAIN ? 0 : negative_errno();
        for (ssize_t i = 0; i < n; i++) {
                if (buf[i] == '\n') {
                        w->line[w->n_line] = 0;
                        w->n_line = 0;
                        take_line(w);
                } else if (w->n_line >= sizeof(w->line) - 1 || buf[i] == 0)
                        w->bad_line = true;
                else
                        w->line[w->n_line++] = buf[i];
        }
        return n > 0;
}

static int on_status(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        WorkerRun *w = userdata;

        if (read_status(w) <= 0 && (revents & (EPOLLHUP | EPOLLERR)))
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

/* A worker that ended by a signal did not say why. */
static void worker_killed(WorkerRun *w, int signal) {
        log_error("The image worker was ended by signal %d (%s).", signal, strna(sigabbrev_np(signal)));
        switch (signal) {
        case SIGSYS:
                return run_end(w, -EBADMSG,
                                "The archive made the import do what it must not; it was stopped.");
        case SIGXCPU:
                return run_end(
                                w, -EDQUOT, "The archive needs more processor time than an import may use.");
        case SIGKILL:
                return run_end(w, -ENOMEM, "The import was killed, possibly for lack of memory.");
        default:
                return run_end(w, -EBADMSG, "The import crashed on this archive.");
        }
}

static int on_exit_of_worker(sd_event_source *s, const siginfo_t *si, void *userdata) {
        WorkerRun *w = userdata;

        w->pid = 0; /* sd-event reaps it */
        /* It cannot have forked: what it said is complete, and at most a pipe full. */
        for (int i = 0; i < 256 && read_status(w) > 0; i++)
                ;
        w->exit_source = sd_event_source_disable_unref(w->exit_source);
        w->status_source = sd_event_source_disable_unref(w->status_source);
        if (si->si_code != CLD_EXITED)
                worker_killed(w, si->si_status);
        else if (w->ended && w->last.type == WORKER_ERROR)
                run_end(w, -w->last.error, w->sentence);
        else if (!w->ended || w->bad_line || w->n_line > 0 || si->si_status != 0) {
                log_error("The image worker ended with status %d and without a proper result.", si->si_status);
                run_end(w, -EIO, "The import ended without a result.");
        } else
                run_end(w, 0, NULL);
        return 0;
}

/* posix_spawn() moves fds one after the other: none may be where another one goes. */
static int move_up(int fd) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, WORKER_LAYERS_FD + (int) WORKER_RUN_FDS_MAX);

        return copy < 0 ? negative_errno() : copy;
}

static int spawn(const char *path, char *const *argv, int input_fd, int output_fd, int status_fd, const int *fds,
                size_t n_fds, pid_t *ret) {
        static char *const environment[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                (char *) "LANG=C.UTF-8", NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r;

        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attr);
        sigemptyset(&none);
        sigfillset(&all);
        if (input_fd >= 0)
                posix_spawn_file_actions_adddup2(&actions, input_fd, WORKER_INPUT_FD);
        else
                posix_spawn_file_actions_addopen(&actions, WORKER_INPUT_FD, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (output_fd >= 0)
                posix_spawn_file_actions_adddup2(&actions, output_fd, WORKER_OUTPUT_FD);
        else
                posix_spawn_file_actions_addopen(&actions, WORKER_OUTPUT_FD, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, status_fd, WORKER_STATUS_FD);
        for (size_t i = 0; i < n_fds; i++)
                posix_spawn_file_actions_adddup2(&actions, fds[i], WORKER_LAYERS_FD + (int) i);
        posix_spawn_file_actions_addclosefrom_np(&actions, WORKER_LAYERS_FD + (int) n_fds);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setsigdefault(&attr, &all);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        r = -posix_spawn(ret, path, &actions, &attr, argv, environment);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attr);
        if (r < 0)
                *ret = 0;
        return r;
}

typedef struct Fds {
        int fds[WORKER_RUN_FDS_MAX];
        size_t n;
} Fds;

static void fds_done(Fds *f) {
        close_many(f->fds, f->n);
}

static int start(WorkerRun *w, const WorkerRequest *q) {
        _cleanup_close_ int input = -EBADF, output = -EBADF, status = -EBADF;
        _cleanup_(fds_done) Fds others = {};
        _cleanup_strv_free_ char **argv = NULL;
        int r, fds[2];

        if (q->n_fds > WORKER_RUN_FDS_MAX)
                return -E2BIG;
        r = strv_consume(&argv, program_path(WORKER));
        for (const char *const *a = q->argv; r >= 0 && *a; a++)
                r = strv_extend(&argv, *a);
        if (r < 0)
                return r;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        w->status_fd = fds[0];
        status = move_up(fds[1]);
        safe_close(fds[1]);
        if (q->output_fd >= 0)
                output = move_up(q->output_fd);
        if (q->input_fd >= 0)
                input = move_up(q->input_fd);
        if (status < 0 || (q->output_fd >= 0 && output < 0) || (q->input_fd >= 0 && input < 0))
                return -EMFILE;
        for (; others.n < q->n_fds; others.n++) {
                others.fds[others.n] = move_up(q->fds[others.n]);
                if (others.fds[others.n] < 0)
                        return -EMFILE;
        }
        r = fd_nonblock(w->status_fd, true);
        if (r < 0)
                return r;
        return spawn(argv[0], argv, input, output, status, others.fds, others.n, &w->pid);
}

int worker_run(sd_event *event, const WorkerRequest *request, WorkerRun **ret) {
        _cleanup_(worker_run_freep) WorkerRun *w = NULL;
        int r;

        w = new(WorkerRun, 1);
        if (!w)
                return -ENOMEM;
        *w = (WorkerRun) {
                .status_fd = -EBADF, .on_line = request->line, .on_end = request->end, .userdata = request->userdata,
        };
        r = start(w, request);
        if (r >= 0)
                r = sd_event_add_child(event, &w->exit_source, w->pid, WEXITED, on_exit_of_worker, w);
        if (r >= 0)
                r = sd_event_add_io(event, &w->status_source, w->status_fd, EPOLLIN, on_status, w);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(w->exit_source, "worker-exit");
        (void) sd_event_source_set_description(w->status_source, "worker-status");
        *ret = TAKE_PTR(w);
        return 0;
}
