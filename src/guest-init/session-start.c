/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/session-start.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-init/environment.h"

#define TTY_GROUP 5 /* as devpts is mounted */

/* The child's ends. */
typedef struct Streams {
        int fds[3];
} Streams;

static void streams_done(Streams *s) {
        for (size_t i = 0; i < ELEMENTSOF(s->fds); i++)
                s->fds[i] = safe_close(s->fds[i]);
}

void session_process_done(SessionProcess *p) {
        p->error_fd = safe_close(p->error_fd);
        p->input_fd = safe_close(p->input_fd);
        for (size_t i = 0; i < ELEMENTSOF(p->output_fds); i++)
                p->output_fds[i] = safe_close(p->output_fds[i]);
}

static int open_pipes(SessionProcess *p, Streams *s) {
        int *ours[3] = { &p->input_fd, &p->output_fds[0], &p->output_fds[1] };

        for (size_t i = 0; i < ELEMENTSOF(ours); i++) {
                bool to_child = i == 0;
                int fds[2], r;

                if (pipe2(fds, O_CLOEXEC) < 0)
                        return negative_errno();
                *ours[i] = fds[to_child];
                s->fds[i] = fds[!to_child];
                r = fd_nonblock(*ours[i], true);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_terminal(const ExecRequest *e, const User *user, SessionProcess *p, Streams *s) {
        struct winsize ws = { .ws_row = e->rows, .ws_col = e->columns };
        int unlocked = 0;

        p->output_fds[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (p->output_fds[0] < 0 || ioctl(p->output_fds[0], TIOCSPTLCK, &unlocked) < 0)
                return negative_errno();

        s->fds[0] = ioctl(p->output_fds[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (s->fds[0] < 0)
                return negative_errno();
        /* So that the user can open it again by its name. */
        if (fchown(s->fds[0], user->uid, TTY_GROUP) < 0)
                return negative_errno();
        if (ws.ws_row > 0 && ws.ws_col > 0)
                (void) ioctl(p->output_fds[0], TIOCSWINSZ, &ws);

        p->input_fd = fcntl(p->output_fds[0], F_DUPFD_CLOEXEC, 3);
        s->fds[1] = fcntl(s->fds[0], F_DUPFD_CLOEXEC, 3);
        s->fds[2] = fcntl(s->fds[0], F_DUPFD_CLOEXEC, 3);
        if (p->input_fd < 0 || s->fds[1] < 0 || s->fds[2] < 0)
                return negative_errno();
        return 0;
}

static int find_user(const char *spec, User *ret, char **ret_why) {
        int r;

        r = user_lookup(spec, ret);
        if (r == -ESRCH)
                *ret_why = strprintf("There is no user %s in the guest", strna(spec));
        else if (r == -ENOMSG)
                *ret_why = strprintf("There is no such group in the guest: %s", strna(spec));
        else if (r < 0)
                *ret_why = strprintf("Cannot read /etc/passwd or /etc/group of the guest: %s", strerror(-r));
        return r;
}

int session_process_start(const BootConfig *config, const ExecRequest *e, SessionProcess *ret, char **ret_why) {
        _cleanup_(session_process_done) SessionProcess p = SESSION_PROCESS_NONE;
        _cleanup_(streams_done) Streams s = { { -EBADF, -EBADF, -EBADF } };
        _cleanup_strv_free_ char **environment = NULL;
        _cleanup_(user_done) User user = {};
        int r;

        r = find_user(e->user, &user, ret_why);
        if (r < 0)
                return r;
        r = environment_build(config->environment, e->environment, &user, e->tty ? "xterm-256color" : NULL,
                        &environment);
        if (r < 0)
                return r;

        r = e->tty ? open_terminal(e, &user, &p, &s) : open_pipes(&p, &s);
        if (r < 0) {
                *ret_why = strprintf("Cannot make the %s of the session: %s", e->tty ? "terminal" : "pipes",
                                strerror(-r));
                return r;
        }

        r = spawn(&(Spawn) {
                        .argv = e->args,
                        .environment = environment,
                        .cwd = e->cwd ?: config->cwd,
                        .cwd_optional = !e->cwd,
                        .user = &user,
                        .stdin_fd = s.fds[0],
                        .stdout_fd = s.fds[1],
                        .stderr_fd = s.fds[2],
                        .controlling_tty = e->tty,
        }, &p.pid, &p.error_fd);
        if (r < 0) {
                *ret_why = strprintf("Cannot fork: %s", strerror(-r));
                return r;
        }

        *ret = p;
        p = SESSION_PROCESS_NONE;
        return 0;
}
