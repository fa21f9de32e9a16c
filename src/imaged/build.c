/* SPDX-License-Identifier: Apache-2.0 */

/* Builds, see the header. Owned by imports and by the built-in image. */

#include "imaged/build.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/worker-protocol.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/program-path.h"

#define WORKER "hero-image-worker"
#define DIGEST_TIMEOUT (3600 * USEC_PER_SEC)

struct Build {
        sd_event *event;
        ImageStore *store;
        StoreFile file;

        pid_t pid; /* of the worker, 0 once it is reaped */
        sd_event_source *exit_source, *status_source;
        int status_fd;
        char line[WORKER_LINE_MAX];
        size_t n_line;
        bool bad_line;
        Child *digest;

        WorkerLine last; /* "done" or "error", once ended is set */
        bool ended;
        char *sentence;

        build_progress_t progress;
        build_done_t done;
        void *userdata;
};

Build *build_free(Build *b) {
        if (!b)
                return NULL;
        sd_event_source_disable_unref(b->exit_source);
        sd_event_source_disable_unref(b->status_source);
        if (b->pid > 0) {
                (void) kill(b->pid, SIGKILL);
                (void) waitpid(b->pid, NULL, 0); /* was just killed: this waits for nothing it does */
        }
        child_free(b->digest);
        safe_close(b->status_fd);
        image_store_discard(b->store, &b->file);
        free(b->sentence);
        sd_event_unref(b->event);
        return mfree(b);
}

static void build_end(Build *b, const BuildResult *result) {
        _cleanup_(build_freep) Build *owned = b;

        b->done(result, b->userdata);
}

static void build_fail(Build *b, int error, const char *sentence) {
        build_end(b, &(BuildResult) { .error = error, .sentence = sentence });
}

/* "sha256:HEX SIZE\n" of our own program, about what is ours alone by now. */
static int parse_digest(const char *output, char digest[static DIGEST_LENGTH + 1], uint64_t *ret_size) {
        const char *space = strchr(output, ' ');
        char size[24];
        size_t n;

        if (!space || space - output != (ptrdiff_t) DIGEST_LENGTH)
                return -EBADMSG;
        memcpy(digest, output, DIGEST_LENGTH);
        digest[DIGEST_LENGTH] = 0;
        n = strcspn(space + 1, "\n");
        if (n >= sizeof(size) || !digest_is_valid(digest))
                return -EBADMSG;
        memcpy(size, space + 1, n);
        size[n] = 0;
        return parse_uint64(size, ret_size);
}

static void on_digest(int status, const char *output, void *userdata) {
        BuildResult result = {};
        char digest[DIGEST_LENGTH + 1];
        Build *b = userdata;
        int r;

        b->digest = NULL;
        if (status != 0 || parse_digest(output, digest, &result.size) < 0) {
                log_error("Failed to take the digest of a new image (status %d): %.200s", status, output);
                return build_fail(b, -EIO, "The new image could not be read back.");
        }
        r = image_store_commit(b->store, &b->file, digest);
        if (r < 0) {
                log_error_errno(r, "Failed to put a new image into the store: %m");
                return build_fail(b, r, "The new image could not be put into the store.");
        }
        result.digest = digest;
        result.entries = b->last.entries;
        result.dropped_xattrs = b->last.dropped;
        build_end(b, &result);
}

static int build_digest(Build *b) {
        _cleanup_free_ char *path = program_path(WORKER);
        char *argv[] = { path, (char *) "digest", NULL };

        if (!path)
                return -ENOMEM;
        return child_run(b->event, argv, b->file.fd, DIGEST_TIMEOUT, on_digest, b, &b->digest);
}

static void take_line(Build *b) {
        WorkerLine l;

        if (b->ended || worker_line_parse(b->line, &l) < 0) {
                b->bad_line = true;
                return;
        }
        switch (l.type) {
        case WORKER_PROGRESS:
                if (b->progress)
                        b->progress(l.bytes, l.entries, b->userdata);
                break;
        case WORKER_ERROR:
                b->sentence = strdup(l.sentence);
                /* fall through */
        case WORKER_DONE:
                b->last = l;
                b->ended = true;
        }
}

/* One piece of what the worker says. > 0: there may be more. */
static int read_status(Build *b) {
        char buf[4096];
        ssize_t n;

        n = read(b->status_fd, buf, sizeof(buf));
        if (n < 0)
                return errno == EINTR ? 1 : errno == EAGAIN ? 0 : negative_errno();
        for (ssize_t i = 0; i < n; i++) {
                if (buf[i] == '\n') {
                        b->line[b->n_line] = 0;
                        b->n_line = 0;
                        take_line(b);
                } else if (b->n_line >= sizeof(b->line) - 1 || buf[i] == 0)
                        b->bad_line = true;
                else
                        b->line[b->n_line++] = buf[i];
        }
        return n > 0;
}

static int on_status(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Build *b = userdata;

        if (read_status(b) <= 0 && (revents & (EPOLLHUP | EPOLLERR)))
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

/* A worker that ended by a signal did not say why. */
static void worker_killed(Build *b, int signal) {
        log_error("The image worker was ended by signal %d (%s).", signal, strna(sigabbrev_np(signal)));
        switch (signal) {
        case SIGSYS:
                return build_fail(b, -EBADMSG,
                                "The archive made the import do what it must not; it was stopped.");
        case SIGXCPU:
                return build_fail(
                                b, -EDQUOT, "The archive needs more processor time than an import may use.");
        case SIGKILL:
                return build_fail(b, -ENOMEM, "The import was killed, possibly for lack of memory.");
        default:
                return build_fail(b, -EBADMSG, "The import crashed on this archive.");
        }
}

static int on_exit_of_worker(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Build *b = userdata;
        int r;

        b->pid = 0; /* sd-event reaps it */
        /* It cannot have forked: what it said is complete, and at most a pipe full. */
        for (int i = 0; i < 256 && read_status(b) > 0; i++)
                ;
        b->exit_source = sd_event_source_disable_unref(b->exit_source);
        b->status_source = sd_event_source_disable_unref(b->status_source);
        if (si->si_code != CLD_EXITED) {
                worker_killed(b, si->si_status);
                return 0;
        }
        if (b->ended && b->last.type == WORKER_ERROR)
                build_fail(b, -b->last.error, b->sentence);
        else if (!b->ended || b->bad_line || b->n_line > 0 || si->si_status != 0) {
                log_error("The image worker ended with status %d and without a proper result.",
                                si->si_status);
                build_fail(b, -EIO, "The import ended without a result.");
        } else {
                r = build_digest(b);
                if (r < 0) {
                        log_error_errno(r, "Failed to run " WORKER ": %m");
                        build_fail(b, r, "The new image could not be read back.");
                }
        }
        return 0;
}

/* posix_spawn() moves fds one after the other: none may be where another one goes. */
static int move_up(int fd) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 16);

        return copy < 0 ? negative_errno() : copy;
}

static int spawn(const char *path, char *const *argv, int input_fd, int output_fd, int status_fd,
                pid_t *ret) {
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
        posix_spawn_file_actions_adddup2(&actions, output_fd, WORKER_OUTPUT_FD);
        posix_spawn_file_actions_adddup2(&actions, status_fd, WORKER_STATUS_FD);
        posix_spawn_file_actions_addclosefrom_np(&actions, WORKER_STATUS_FD + 1);
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

static int build_spawn(Build *b, const char *const *arguments, int input_fd) {
        _cleanup_close_ int input = -EBADF, output = -EBADF, status = -EBADF;
        _cleanup_strv_free_ char **argv = NULL;
        int r, fds[2];

        r = strv_consume(&argv, program_path(WORKER));
        for (const char *const *a = arguments; r >= 0 && *a; a++)
                r = strv_extend(&argv, *a);
        if (r < 0)
                return r;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        b->status_fd = fds[0];
        status = move_up(fds[1]);
        safe_close(fds[1]);
        output = move_up(b->file.fd);
        if (input_fd >= 0)
                input = move_up(input_fd);
        if (status < 0 || output < 0 || (input_fd >= 0 && input < 0))
                return -EMFILE;
        r = fd_nonblock(b->status_fd, true);
        if (r < 0)
                return r;
        return spawn(argv[0], argv, input, output, status, &b->pid);
}

int build_start(sd_event *event, ImageStore *store, const char *const *argv, int input_fd,
                build_progress_t progress, build_done_t done, void *userdata, Build **ret) {
        _cleanup_(build_freep) Build *b = NULL;
        int r;

        b = new(Build, 1);
        if (!b)
                return -ENOMEM;
        *b = (Build) {
                .event = sd_event_ref(event),
                .store = store,
                .file.fd = -EBADF,
                .status_fd = -EBADF,
                .progress = progress,
                .done = done,
                .userdata = userdata,
        };
        r = image_store_create(store, &b->file);
        if (r >= 0)
                r = build_spawn(b, argv, input_fd);
        if (r >= 0)
                r = sd_event_add_child(event, &b->exit_source, b->pid, WEXITED, on_exit_of_worker, b);
        if (r >= 0)
                r = sd_event_add_io(event, &b->status_source, b->status_fd, EPOLLIN, on_status, b);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(b->exit_source, "worker-exit");
        (void) sd_event_source_set_description(b->status_source, "worker-status");
        *ret = TAKE_PTR(b);
        return 0;
}
