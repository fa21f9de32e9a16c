/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/command.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-init/boot.h"
#include "guest-init/console-shell.h"
#include "guest-init/environment.h"
#include "guest-init/power.h"
#include "guest-init/spawn.h"

/* False when the command could not be executed, which has then been reported. */
static bool check_executed(Guest *g) {
        _cleanup_free_ char *why = NULL;
        SpawnError e;
        ssize_t n;

        if (g->command_error.fd < 0)
                return true;
        n = read(g->command_error.fd, &e, sizeof(e));
        if (n < 0 && errno == EAGAIN)
                return true;
        source_close(g->epoll_fd, &g->command_error);

        if (n != (ssize_t) sizeof(e)) {
                boot_ready(g);
                return true;
        }
        g->command_pid = 0;
        why = spawn_error_sentence(&e, g->config.args[0], g->config.cwd);
        boot_failed_command(g, -e.error, why);
        return false;
}

static void on_error_pipe(Source *source, uint32_t events) {
        (void) check_executed(source->userdata);
}

int command_prepare(Guest *g, User *ret_user, char ***ret_environment, char **ret_why) {
        _cleanup_(user_done) User user = {};
        const BootConfig *c = &g->config;
        int r;

        r = user_lookup(c->user, &user);
        if (r < 0) {
                *ret_why = strprintf("The image has no user or group %s", strna(c->user));
                return r;
        }
        r = environment_build(c->environment, NULL, &user, CONSOLE_TERM, ret_environment);
        if (r < 0)
                return r;
        *ret_user = user;
        user = (User) {};
        return 0;
}

int command_start(Guest *g, char **ret_why) {
        _cleanup_close_ int console = -EBADF, null = -EBADF, error_fd = -EBADF;
        _cleanup_strv_free_ char **environment = NULL;
        _cleanup_(user_done) User user = {};
        const BootConfig *c = &g->config;
        int r;

        r = command_prepare(g, &user, &environment, ret_why);
        if (r < 0)
                return r;

        console = console_open(O_RDWR);
        if (console < 0) {
                *ret_why = strprintf("Cannot open the console: %s", strerror(-console));
                return console;
        }
        /* Only one can read from the console: the shell, where there is to be one. */
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0)
                return negative_errno();
        if (user.uid != 0)
                (void) fchown(console, user.uid, (gid_t) -1);

        if (c->init && unshare(CLONE_NEWPID) < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot make a PID namespace for %s: %s", c->args[0], strerror(-r));
                return r;
        }

        r = spawn(&(Spawn) {
                        .argv = c->args,
                        .environment = environment,
                        .cwd = c->cwd ?: "/",
                        .user = &user,
                        .stdin_fd = c->console_shell ? null : console,
                        .stdout_fd = console,
                        .stderr_fd = console,
                        .controlling_tty = !c->console_shell,
                        .first_process = c->init,
        }, &g->command_pid, &error_fd);
        if (r >= 0)
                r = source_add(g->epoll_fd, &g->command_error, error_fd, EPOLLIN, on_error_pipe, g);
        if (r < 0)
                return r;
        TAKE_FD(error_fd);
        return 0;
}

bool command_reaped(Guest *g, pid_t pid, int status) {
        _cleanup_free_ char *message = NULL;
        GpWriter *w;

        if (pid != g->command_pid)
                return false;
        g->command_pid = 0;
        /* It may have ended before we came to look whether it began: READY goes first. */
        if (!check_executed(g))
                return true;

        w = guest_writer(GP_COMMAND_EXIT, 0);
        if (WIFSIGNALED(status)) {
                gp_writer_u32(w, GP_FIELD_SIGNAL, (uint32_t) WTERMSIG(status));
                message = strprintf("%s was ended by signal %d (%s)", g->config.args[0], WTERMSIG(status),
                                strsignal(WTERMSIG(status)));
        } else {
                gp_writer_u32(w, GP_FIELD_STATUS, (uint32_t) WEXITSTATUS(status));
                message = strprintf("%s ended with status %d", g->config.args[0], WEXITSTATUS(status));
        }
        gp_writer_string(w, GP_FIELD_MESSAGE, message);
        guest_send(g, w);
        power_begin(g, GP_POWEROFF);
        return true;
}
