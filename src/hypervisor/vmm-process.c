/* SPDX-License-Identifier: Apache-2.0 */

/* The daemon's side of starting a VMM: have a blocked process made, release it, hear how it went. */

#include "hypervisor/vmm-process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "hypervisor/launch-protocol.h"
#include "hypervisor/launcher.h"

#define LAST_WORDS_MAX 500u
#define ERRORS_PIPE_SIZE 4096
#define REQUEST_FDS_MAX (VMM_FDS_MAX + LAUNCH_N_LOAD + 1)

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
        add_number(q, c->load ? LAUNCH_N_LOAD : 0);
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
        /* Of a device: who is in its group gets at it, and udev(7) sets that only after the device is there. */
        mix(hash, st.st_gid);
        mix(hash, st.st_mode);
}

/* What a root was made of: another package's program, a device that has come meanwhile or belongs to
 * another group, are another root. */
static uint64_t root_hash(const VmmCommand *c, const VmmSandbox *s) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; s->paths && s->paths[i]; i++)
                mix_file(&hash, s->paths[i]);
        for (size_t i = 0; s->devices && s->devices[i]; i++)
                mix_file(&hash, s->devices[i]);
        mix_file(&hash, c->argv[0]);
        return hash;
}

/* Nobody reads the pipe while the VMM lives: what does not fit is dropped (O_NONBLOCK), and a page is enough. */
static int errors_pipe(int fds[static 2]) {
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return negative_errno();
        (void) fcntl(fds[0], F_SETPIPE_SZ, ERRORS_PIPE_SIZE);
        return 0;
}

/* In the order of the protocol; returns how many. */
static size_t request_fds(const VmmCommand *c, int errors_fd, int fds[static REQUEST_FDS_MAX]) {
        size_t n = c->n_fds;

        memcpy(fds, c->fds, n * sizeof(int));
        if (c->load) {
                fds[n++] = c->load_image_fd;
                fds[n++] = c->load_memory_fd;
        }
        fds[n++] = errors_fd;
        return n;
}

int vmm_process_spawn(const VmmCommand *command, const VmmSandbox *sandbox, uid_t uid, gid_t gid, VmmProcess *ret) {
        _cleanup_close_ int errors = -EBADF, their_errors = -EBADF;
        static Request request; /* large, and there is one loop */
        int pair[2], fds[REQUEST_FDS_MAX], r;
        Launched process;
        size_t n_fds;

        assert(command && sandbox && ret);

        if (uid == 0 || gid == 0 || uid == (uid_t) -1 || gid == (gid_t) -1 || command->n_fds > VMM_FDS_MAX)
                return -EINVAL;
        if (!command->argv || !command->argv[0] || command->argv[0][0] != '/')
                return -EINVAL;
        r = request_build(&request, command, sandbox, uid, gid);
        if (r >= 0)
                r = errors_pipe(pair);
        if (r < 0)
                return r;
        errors = pair[0];
        their_errors = pair[1];
        n_fds = request_fds(command, their_errors, fds);

        r = launcher_take(request.buf + request.kind, request.n_kind, root_hash(command, sandbox), &process);
        if (r < 0)
                return r;
        r = send_fds(process.control_fd, request.buf, request.n, fds, n_fds, MSG_DONTWAIT);
        if (r < 0) {
                launched_end(&process);
                return r;
        }
        *ret = (VmmProcess) {
                .pid = process.pid,
                .pidfd = process.pidfd,
                .control_fd = process.control_fd,
                .errors_fd = TAKE_FD(errors),
                .loading = command->load,
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
                if (n == 0 && p->executing && !p->loading) {
                        p->control_fd = safe_close(p->control_fd);
                        return 1;
                }
                if (n == 0)
                        return failed(p, -EPIPE, p->executing ? "The guest's memory was not loaded." :
                                                                "The VMM's launcher ended before it started the VMM.", ret_text);
                if ((size_t) n < sizeof(report))
                        return failed(p, -EBADMSG, "The VMM's launcher spoke nonsense.", ret_text);
                if (report.error != 0) {
                        report.text[sizeof(report.text) - 1] = 0;
                        return failed(p, report.error > 0 ? -report.error : -EIO, report.text, ret_text);
                }
                if (report.loaded)
                        p->loading = false;
                else
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
