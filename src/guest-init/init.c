/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/init.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-init/boot.h"
#include "guest-init/command.h"
#include "guest-init/console-shell.h"
#include "guest-init/environment.h"
#include "guest-init/identity.h"
#include "guest-init/signals.h"
#include "guest-init/spawn.h"

#define AGENT_CGROUP "/sys/fs/cgroup/hero-agent"

/* What may end somebody by default and is meant for others: an init that goes down tells everybody. */
static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPWR };

/* Which init it is, by the program behind the links. */
static InitKind find_kind(const char *path) {
        static const struct {
                const char *name;
                InitKind kind;
        } known[] = {
                { "systemd", INIT_SYSTEMD },
                { "openrc-init", INIT_OPENRC },
                { "busybox", INIT_BUSYBOX },
                { "init", INIT_SYSV },
        };
        char real[PATH_MAX];
        const char *name;

        if (!strchr(path, '/') || !realpath(path, real))
                return INIT_NONE;
        name = strrchr(real, '/') + 1;
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                /* /init at the top is no sysvinit, but what the makers of an image wrote. */
                if (streq(name, known[i].name) && !streq(real, "/init"))
                        return known[i].kind;
        return INIT_NONE;
}

bool init_is_for_machines(Guest *g) {
        g->init = find_kind(g->config.args[0]);
        return g->init != INIT_NONE;
}

/* In the runtime directory, where it is gone with the VM's run: systemd leaves the console to our shell, if there is to be
 * one, for two cannot read from it, and nobody has a password in an image. */
static void keep_console(void) {
        static const char *const units[] = { "serial-getty@ttyS0.service", "console-getty.service", "serial-getty@hvc0.service" };

        (void) mkdir("/run/systemd", 0755);
        (void) mkdir("/run/systemd/system", 0755);
        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                char link[PATH_MAX];

                snprintf(link, sizeof(link), "/run/systemd/system/%s", units[i]);
                (void) symlink("/dev/null", link);
        }
}

/* The agent. */

static void on_executed(Source *source, uint32_t events) {
        _cleanup_free_ char *why = NULL;
        Guest *g = source->userdata;
        SpawnError e;
        ssize_t n;

        n = read(source->fd, &e, sizeof(e));
        if (n < 0 && errno == EAGAIN)
                return;
        source_close(g->epoll_fd, source);
        if (n != (ssize_t) sizeof(e)) {
                g->init_runs = true;
                return boot_ready(g);
        }
        why = spawn_error_sentence(&e, g->config.args[0], g->config.cwd);
        boot_failed_command(g, -e.error, why);
}

/* An epoll instance and a signalfd that are shared with another process tell of that one's signals. */
static int watch_again(Guest *g, int error_fd) {
        void *on_port = g->port.handler;
        int port_fd = g->port.fd, r;

        g->epoll_fd = safe_close(g->epoll_fd);
        g->signals.fd = safe_close(g->signals.fd);
        g->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (g->epoll_fd < 0)
                return negative_errno();
        r = signals_watch(g);
        if (r < 0)
                return r;
        r = source_add(g->epoll_fd, &g->port, port_fd, EPOLLIN | EPOLLOUT, (source_handler_t) on_port, g);
        if (r < 0)
                return r;
        return source_add(g->epoll_fd, &g->command_error, error_fd, EPOLLIN, on_executed, g);
}

static void enter_cgroup(void) {
        _cleanup_close_ int fd = -EBADF;

        if (mkdir(AGENT_CGROUP, 0755) < 0 && errno != EEXIST)
                return; /* no cgroup2 */
        fd = open(AGENT_CGROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (fd >= 0)
                (void) write_all(fd, "0", 1);
}

/* PID 1 wants its console blocking; what follows a dup() is shared. */
static void own_console(void) {
        int fd;

        fd = open("/dev/console", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return;
        (void) dup2(fd, STDERR_FILENO);
        if (fd != STDERR_FILENO)
                safe_close(fd);
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return;
        (void) dup2(fd, STDIN_FILENO);
        (void) dup2(fd, STDOUT_FILENO);
        if (fd > STDERR_FILENO)
                safe_close(fd);
}

static int become_agent(Guest *g, int error_fd) {
        (void) setsid();
        for (size_t i = 0; i < ELEMENTSOF(ignored); i++)
                (void) signal(ignored[i], SIG_IGN);
        /* systemd spares what is named so in its last round of killing. */
        g->argv0[0] = '@';
        (void) prctl(PR_SET_NAME, "hero-agent");
        enter_cgroup();
        own_console();
        return watch_again(g, error_fd);
}

/* PID 1. */

static _Noreturn void reap_for_ever(void) {
        for (;;)
                if (waitpid(-1, NULL, 0) < 0)
                        pause();
}

static _Noreturn void become_init(const Spawn *s, int error_fd) {
        (void) fd_nonblock(STDERR_FILENO, false);
        spawn_in_place(s, error_fd);
        /* The agent says what went wrong, and switches the machine off. */
        reap_for_ever();
}

int init_start(Guest *g, char **ret_why) {
        _cleanup_close_ int reader = -EBADF, writer = -EBADF;
        _cleanup_strv_free_ char **environment = NULL;
        _cleanup_(user_done) User user = {};
        BootConfig *c = &g->config;
        int p[2], r;
        pid_t pid;

        r = command_prepare(g, &user, &environment, ret_why);
        if (r < 0)
                return r;
        if (g->init == INIT_SYSTEMD) {
                identity_machine_id();
                if (c->console_shell)
                        keep_console();
        } else
                c->console_shell = false; /* it looks after the console itself */

        if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
                return negative_errno();
        reader = p[0];
        writer = p[1];
        pid = fork();
        if (pid < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot fork: %s", strerror(-r));
                return r;
        }
        if (pid > 0)
                become_init(&(Spawn) {
                                .argv = c->args,
                                .environment = environment,
                                .cwd = c->cwd ?: "/",
                                .user = &user,
                                .stdin_fd = STDIN_FILENO,
                                .stdout_fd = STDOUT_FILENO,
                                .stderr_fd = STDERR_FILENO,
                }, writer);

        r = become_agent(g, reader);
        if (r >= 0)
                TAKE_FD(reader);
        return r;
}

/* Going down. */

static bool write_to(const char *path, const void *p, size_t n) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        /* Nobody reads yet: not now. */
        fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return fd >= 0 && fstat(fd, &st) >= 0 && S_ISFIFO(st.st_mode) && write_all(fd, p, n) >= 0;
}

/* struct init_request of sysvinit's initreq.h. */
static bool ask_sysv(GpShutdown mode) {
        static const char *const fifos[] = { "/run/initctl", "/dev/initctl" };
        struct {
                int magic, cmd, runlevel, sleeptime;
                char data[368];
        } request = { .magic = 0x03091969, .cmd = 1, .runlevel = mode == GP_REBOOT ? '6' : '0', .sleeptime = 3 };

        for (size_t i = 0; i < ELEMENTSOF(fifos); i++)
                if (write_to(fifos[i], &request, sizeof(request)))
                        return true;
        return false;
}

static bool ask_openrc(GpShutdown mode) {
        const char *word = mode == GP_REBOOT ? "reboot" : "poweroff";

        return write_to("/run/openrc/init.ctl", word, strlen(word));
}

/* Signals as glibc numbers them: what is in the image is compiled against it, mostly. */
#define SIGRTMIN_GLIBC 34

void init_ask(const Guest *g, GpShutdown mode) {
        bool reboot = mode == GP_REBOOT;

        switch (g->init) {

        case INIT_SYSTEMD:
                (void) kill(1, SIGRTMIN_GLIBC + (reboot ? 5 : 4));
                break;

        case INIT_BUSYBOX:
                (void) kill(1, reboot ? SIGTERM : SIGUSR2);
                break;

        case INIT_OPENRC:
                /* While it still boots nothing reads there; its signal for a reboot ends the VM as well. */
                if (!ask_openrc(mode))
                        (void) kill(1, SIGINT);
                break;

        case INIT_SYSV:
                if (ask_sysv(mode))
                        break;
                __attribute__((__fallthrough__));

        default:
                (void) kill(1, g->config.stop_signal);
        }
}
