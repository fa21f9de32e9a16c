/* SPDX-License-Identifier: Apache-2.0 */

/* hero-mock-vmm: see mock-vmm.h. Arguments are NAME=VALUE: name, console, monitor, agent, tap, memory (fd
 * numbers), mac, script, incoming ("yes"). */

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd-pass.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "hypervisor/mock/mock-state.h"

static volatile sig_atomic_t terminated;

#define LOAD_PERIOD (10 * USEC_PER_MSEC)
#define LOAD_STACK 16384
#define FLOOD_PERIOD (20 * USEC_PER_MSEC)

int mock_fd_gone(int fd) {
        if (fd >= 0)
                (void) close(fd);
        return -EBADF;
}

void mock_spin(uint64_t usec) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + usec;

        while (now_usec(CLOCK_MONOTONIC) < until)
                ;
}

static void monitor_send(Mock *m, const char *format, ...) _printf_(2, 3);
static void monitor_send(Mock *m, const char *format, ...) {
        char buf[MOCK_LINE_MAX];
        va_list ap;
        int n;

        if (m->monitor_fd < 0 || m->script.monitor_silent)
                return;
        va_start(ap, format);
        n = vsnprintf(buf, sizeof(buf), format, ap);
        va_end(ap);
        if (n > 0)
                (void) send(m->monitor_fd, buf, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void mock_event(Mock *m, const char *name) {
        monitor_send(m, "! %s\n", name);
}

void mock_shutdown(Mock *m) {
        if (m->ended)
                return;
        m->ended = true;
        mock_event(m, "guest-shutdown");
}

/* As QEMU does on "quit" and on SIGTERM. */
static void end_by_host(Mock *m) {
        m->ended = true;
        mock_event(m, "host-shutdown");
}

static void on_signal(int sig) {
        terminated = 1;
}

/* SIGTERM arrives in ppoll() only, so that it is never missed. */
static void signals_start(sigset_t *ret_waiting) {
        struct sigaction sa = { .sa_handler = on_signal };
        sigset_t blocked;

        (void) signal(SIGPIPE, SIG_IGN);
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &blocked, ret_waiting);
        sigdelset(ret_waiting, SIGTERM);
        (void) sigaction(SIGTERM, &sa, NULL);
}

static void set_paused(Mock *m, bool paused) {
        if (paused && m->script.crash_on_pause)
                abort();
        if (paused != m->paused)
                mock_event(m, paused ? "paused" : "resumed");
        m->paused = paused;
}

/* NULL or why not. */
static const char *save(Mock *m) {
        int r;

        if (m->script.save_fails)
                return "The mock VMM was told to fail to save.";
        if (!m->memory)
                return "The memory of this VM is not in a file, which saving needs.";
        if (!m->paused || m->incoming)
                return "There is no paused guest to save.";
        if (m->passed_fd < 0)
                return "There is no file to save to.";
        r = mock_state_save(m, m->passed_fd);
        return r < 0 ? strerror(-r) : NULL;
}

static const char *load(Mock *m) {
        int r;

        if (m->script.load_fails)
                return "The mock VMM was told to fail to load.";
        if (!m->incoming)
                return "There is a guest already.";
        if (m->passed_fd < 0)
                return "There is no file to load from.";
        r = mock_state_load(m, m->passed_fd);
        if (r == -ESTALE)
                return "The memory is not that of the guest whose state this is.";
        m->incoming = r < 0;
        return r == -EBADMSG ? "This is no saved state, or it is damaged." : r < 0 ? strerror(-r) : NULL;
}

static void save_or_load(Mock *m, const char *id, bool loading) {
        const char *error;

        if (loading ? m->script.load_hangs : m->script.save_hangs)
                return;
        error = loading ? load(m) : save(m);
        m->passed_fd = mock_fd_gone(m->passed_fd);
        if (!error) {
                monitor_send(m, "%s ok\n", id);
                return;
        }
        monitor_send(m, "%s error %s\n", id, error);
        if (loading && m->incoming) {
                m->ended = true;
                m->status = 1;
        }
}

static void monitor_line(Mock *m, char *line) {
        char *command;

        command = strchr(line, ' ');
        if (!command)
                return;
        *command++ = 0;
        if (streq(command, "status")) {
                monitor_send(m, "%s %s\n", line, m->paused ? "paused" : "running");
                return;
        }
        if (streq(command, "save") || streq(command, "load")) {
                save_or_load(m, line, streq(command, "load"));
                return;
        }
        if (m->incoming && streq(command, "resume")) {
                monitor_send(m, "%s error There is no guest yet.\n", line);
                return;
        }
        if (streq(command, "pause"))
                set_paused(m, true);
        else if (streq(command, "resume"))
                set_paused(m, false);
        else if (!streq(command, "powerdown") && !streq(command, "quit")) {
                monitor_send(m, "%s error There is no such command.\n", line);
                return;
        }
        monitor_send(m, "%s ok\n", line);
        if (streq(command, "quit"))
                end_by_host(m);
        else if (streq(command, "powerdown") && !m->script.ignore_powerdown)
                mock_shutdown(m);
}

static void monitor_input(Mock *m) {
        size_t n_fds;
        char *end;
        ssize_t n;
        int fd;

        n = receive_fds(m->monitor_fd, m->line + m->n_line, sizeof(m->line) - 1 - m->n_line, &fd, 1, &n_fds, MSG_DONTWAIT);
        if (n <= 0) {
                if (n != -EAGAIN)
                        m->monitor_fd = mock_fd_gone(m->monitor_fd);
                return;
        }
        if (n_fds > 0) {
                (void) mock_fd_gone(m->passed_fd);
                m->passed_fd = fd;
        }
        m->n_line += (size_t) n;
        while ((end = memchr(m->line, '\n', m->n_line))) {
                size_t k = (size_t) (end + 1 - m->line);

                *end = 0;
                monitor_line(m, m->line);
                memmove(m->line, m->line + k, m->n_line - k);
                m->n_line -= k;
        }
        if (m->n_line >= sizeof(m->line) - 1)
                m->n_line = 0; /* no line of ours is that long */
}

static void monitor_start(Mock *m) {
        static const char garbage[] = "\001\377{]\"garbage\n\n\n";

        if (m->script.monitor_garbage)
                (void) send(m->monitor_fd, garbage, sizeof(garbage) - 1, MSG_NOSIGNAL);
        else
                monitor_send(m, "%s\n", MOCK_GREETING);
}

/* One CPU's worth of load besides what the loop makes. */
static void *load_thread(void *userdata) {
        const Mock *m = userdata;

        for (;;)
                if (m->paused)
                        (void) poll(NULL, 0, LOAD_PERIOD / USEC_PER_MSEC);
                else
                        mock_spin(LOAD_PERIOD);
        return NULL;
}

static int load_start(Mock *m) {
        pthread_attr_t attr;
        pthread_t thread;
        sigset_t all, old;
        int r;

        m->load_at = m->script.load ? m->started : 0;
        if (m->script.load <= 100)
                return 0;
        sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
        r = -pthread_attr_init(&attr);
        if (r >= 0)
                r = -pthread_attr_setstacksize(&attr, LOAD_STACK);
        for (; r >= 0 && m->script.load > 100; m->script.load -= 100)
                r = -pthread_create(&thread, &attr, load_thread, m);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
        return a == 0 ? b : b == 0 ? a : MIN2(a, b);
}

/* When something is to be done although nobody writes to us; 0: never. */
static uint64_t deadline(const Mock *m) {
        uint64_t d = 0;

        if (m->paused)
                return 0;
        if (m->script.exit_after)
                d = earlier(d, m->started + m->script.exit_after);
        if (m->script.crash_after)
                d = earlier(d, m->started + m->script.crash_after);
        if (m->script.panic_after)
                d = earlier(d, m->started + m->script.panic_after);
        d = earlier(d, m->load_at);
        d = earlier(d, m->memory_at);
        d = earlier(d, m->flood_at);
        return earlier(d, mock_agent_deadline(m));
}

static void script_tick(Mock *m, uint64_t now) {
        if (m->script.crash_after && now >= m->started + m->script.crash_after)
                abort();
        if (m->script.panic_after && now >= m->started + m->script.panic_after) {
                mock_event(m, "guest-panic");
                m->ended = true;
        }
        if (m->script.exit_after && now >= m->started + m->script.exit_after) {
                mock_agent_command_exit(m);
                mock_shutdown(m);
        }
        if (m->memory_at && now >= m->memory_at) {
                m->memory_at = 0;
                if (mock_memory_touch(m, m->script.memory) < 0)
                        abort();
        }
        if (m->load_at && now >= m->load_at) {
                mock_spin(LOAD_PERIOD * m->script.load / 100);
                m->load_at = now + LOAD_PERIOD;
        }
        if (m->flood_at && now >= m->flood_at) {
                mock_console_flood(m, FLOOD_PERIOD);
                m->flood_at = now + FLOOD_PERIOD;
        }
}

static int wait_for_something(const Mock *m, struct pollfd p[], size_t n, const sigset_t *waiting) {
        uint64_t d = deadline(m), now = now_usec(CLOCK_BOOTTIME), left = d > now ? d - now : 0;
        struct timespec ts = {
                .tv_sec = (time_t) (left / USEC_PER_SEC),
                .tv_nsec = (long) (left % USEC_PER_SEC * NSEC_PER_USEC),
        };

        return ppoll(p, n, d == 0 ? NULL : &ts, waiting);
}

static void run_once(Mock *m, const sigset_t *waiting) {
        struct pollfd p[] = {
                { .fd = m->monitor_fd, .events = POLLIN },
                { .fd = m->paused ? -1 : m->console_fd, .events = POLLIN },
                { .fd = m->paused ? -1 : m->agent_fd, .events = mock_agent_events(m) },
                { .fd = m->paused ? -1 : m->tap_fd, .events = POLLIN },
        };
        uint64_t now;
        int n;

        n = wait_for_something(m, p, ELEMENTSOF(p), waiting);
        if (terminated)
                end_by_host(m);
        if (n < 0 || m->ended)
                return;
        if (p[0].revents)
                monitor_input(m);
        if (m->paused)
                return;
        if (p[1].revents)
                mock_console_input(m);
        if (p[2].revents)
                mock_agent_io(m, p[2].revents);
        if (p[3].revents)
                mock_net_input(m);
        now = now_usec(CLOCK_BOOTTIME);
        script_tick(m, now);
        mock_agent_tick(m, now);
}

static int parse_mac(const char *s, uint8_t ret[static 6]) {
        int end = 0;

        if (sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &ret[0], &ret[1], &ret[2], &ret[3], &ret[4], &ret[5], &end) != 6)
                return -EINVAL;
        return end == 17 && !s[end] ? 0 : -EINVAL;
}

static int parse_argument(Mock *m, const char *arg) {
        static const struct {
                const char *name;
                size_t offset;
        } fds[] = {
                { "console=", offsetof(Mock, console_fd) },
                { "monitor=", offsetof(Mock, monitor_fd) },
                { "agent=", offsetof(Mock, agent_fd) },
                { "tap=", offsetof(Mock, tap_fd) },
                { "memory=", offsetof(Mock, memory_fd) },
        };
        const char *v;
        unsigned fd;

        v = startswith(arg, "name=");
        if (v) {
                m->name = v;
                return 0;
        }
        if (streq(arg, "incoming=yes")) {
                m->incoming = m->paused = true;
                return 0;
        }
        v = startswith(arg, "mac=");
        if (v)
                return parse_mac(v, m->mac);
        v = startswith(arg, "script=");
        if (v)
                return mock_script_parse(v, &m->script);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                v = startswith(arg, fds[i].name);
                if (!v)
                        continue;
                if (parse_uint(v, 1000, &fd) < 0)
                        return -EINVAL;
                *(int *) ((char *) m + fds[i].offset) = (int) fd;
                return 0;
        }
        return -EINVAL;
}

static int memory_start(Mock *m) {
        int r;

        r = mock_memory_start(m);
        if (r < 0 || m->script.memory == 0 || m->incoming)
                return r;
        if (m->script.memory_after == 0)
                return mock_memory_touch(m, m->script.memory);
        m->memory_at = m->started + m->script.memory_after;
        return 0;
}

int main(int argc, char *argv[]) {
        static Mock m = {
                .name = "mock",
                .console_fd = -EBADF,
                .monitor_fd = -EBADF,
                .agent_fd = -EBADF,
                .tap_fd = -EBADF,
                .memory_fd = -EBADF,
                .passed_fd = -EBADF,
        };
        sigset_t waiting;

        for (int i = 1; i < argc; i++)
                if (parse_argument(&m, argv[i]) < 0) {
                        fprintf(stderr, "hero-mock-vmm: %s is no argument.\n", argv[i]);
                        return 2;
                }
        if (m.script.die_at_start) {
                fprintf(stderr, "hero-mock-vmm: told to die at the start.\n");
                return 1;
        }
        signals_start(&waiting);
        m.started = now_usec(CLOCK_BOOTTIME);
        m.flood_at = m.script.console_flood ? m.started : 0;
        monitor_start(&m);
        if (memory_start(&m) < 0 || load_start(&m) < 0) {
                fprintf(stderr, "hero-mock-vmm: there is no such memory.\n");
                return 1;
        }
        mock_net_start(&m);
        if (!m.incoming) {
                mock_console_start(&m);
                mock_agent_start(&m);
        }
        while (!m.ended)
                run_once(&m, &waiting);
        return m.status;
}
