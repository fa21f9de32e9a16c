/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/console-shell.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-init/environment.h"
#include "guest-init/spawn.h"

int console_open(int flags) {
        _cleanup_free_ char *active = NULL, *path = NULL;
        const char *name;
        int fd, r;

        /* Several consoles: /dev/console is the last one. */
        r = read_full_file(AT_FDCWD, "/sys/class/tty/console/active", 256, &active, NULL);
        if (r < 0)
                return r;
        name = strrchr(strstrip(active), ' ');
        path = strprintf("/dev/%s", name ? name + 1 : strstrip(active));
        if (!path)
                return -ENOMEM;

        fd = open(path, flags | O_NOCTTY | O_CLOEXEC);
        return fd < 0 ? negative_errno() : fd;
}

/* What the last program did to it is undone. */
static void reset_terminal(int fd) {
        struct termios t;

        if (tcgetattr(fd, &t) < 0)
                return;
        t.c_iflag = (t.c_iflag & ~(tcflag_t) (IGNCR | INLCR | IXOFF)) | ICRNL | IXON;
        t.c_oflag |= OPOST | ONLCR;
        t.c_lflag |= ISIG | ICANON | ECHO | ECHOE | ECHOK | IEXTEN;
        t.c_cc[VINTR] = 003;
        t.c_cc[VQUIT] = 034;
        t.c_cc[VERASE] = 0177;
        t.c_cc[VKILL] = 025;
        t.c_cc[VEOF] = 004;
        t.c_cc[VSUSP] = 032;
        t.c_cc[VMIN] = 1;
        t.c_cc[VTIME] = 0;
        (void) tcsetattr(fd, TCSANOW, &t);
}

static int start_shell(Guest *g) {
        _cleanup_close_ int fd = -EBADF, error_fd = -EBADF;
        _cleanup_strv_free_ char **environment = NULL;
        _cleanup_free_ char *login = NULL;
        _cleanup_(user_done) User user = {};
        const char *shell;
        int r;

        r = user_lookup(NULL, &user);
        if (r < 0)
                return r;
        shell = access(user.shell, X_OK) >= 0 ? user.shell : "/bin/sh";
        if (access(shell, X_OK) < 0)
                return negative_errno();
        r = environment_build(g->config.environment, NULL, &user, CONSOLE_TERM, &environment);
        if (r < 0)
                return r;
        login = strprintf("-%s", strrchr(shell, '/') ? strrchr(shell, '/') + 1 : shell);
        if (!login)
                return -ENOMEM;

        fd = console_open(O_RDWR);
        if (fd < 0)
                return fd;
        /* Should execve() fail all the same, the next offer comes with the child's end. */
        return spawn(&(Spawn) {
                        .argv = (char *const[]) { login, NULL },
                        .program = shell,
                        .environment = environment,
                        .user = &user,
                        .stdin_fd = fd,
                        .stdout_fd = fd,
                        .stderr_fd = fd,
                        .controlling_tty = true,
        }, &g->console_pid, &error_fd);
}

static void on_console(Source *source, uint32_t events) {
        Guest *g = source->userdata;
        bool enter = false;
        char buf[256];
        ssize_t n;
        int r;

        while ((n = read(source->fd, buf, sizeof(buf))) > 0)
                enter = enter || memchr(buf, '\n', (size_t) n);
        if (!enter)
                return;

        source_close(g->epoll_fd, source);
        r = start_shell(g);
        if (r < 0) {
                guest_log("Cannot start a shell: %s", strerror(-r));
                console_shell_offer(g);
        }
}

void console_shell_offer(Guest *g) {
        static const char text[] = "\r\nPress Enter to activate this console.\r\n";
        int fd, r;

        fd = console_open(O_RDWR | O_NONBLOCK);
        if (fd < 0)
                return guest_log("Cannot open the console: %s", strerror(-fd));

        reset_terminal(fd);
        r = source_add(g->epoll_fd, &g->console, fd, EPOLLIN, on_console, g);
        if (r < 0) {
                safe_close(fd);
                return guest_log("Cannot watch the console: %s", strerror(-r));
        }
        (void) !write(fd, text, sizeof(text) - 1);
}

bool console_shell_reaped(Guest *g, pid_t pid) {
        if (pid != g->console_pid)
                return false;

        g->console_pid = 0;
        if (g->power == POWER_ON)
                console_shell_offer(g);
        return true;
}

void console_shell_stop(Guest *g) {
        source_close(g->epoll_fd, &g->console);
        if (g->console_pid > 0)
                (void) kill(-g->console_pid, SIGHUP);
}
