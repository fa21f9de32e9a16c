/* SPDX-License-Identifier: Apache-2.0 */

/* hero-rpcd: JSON-RPC for those who do not speak D-Bus. Started by its sockets, under a user of its own; it stays, for the VMs it
 * knows of are what makes its answers quick. */

#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "rpcd/connections.h"
#include "rpcd/guests.h"
#include "rpcd/http.h"
#include "rpcd/jobs.h"
#include "rpcd/line.h"
#include "rpcd/replica.h"
#include "rpcd/rpc.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log-control.h"
#include "shared/log.h"

/* Nothing but org.freedesktop.LogControl1 is below it. */
#define RPC_BUS_NAME "org.hero.Compute.RPC"

/* For calls under way when we are to end. */
#define DRAIN_TIMEOUT (5 * USEC_PER_SEC)

/* After it the VMs are known, and whatever a start needs is over. */
#define START_TIME (3 * USEC_PER_SEC)

/* What is open besides connections: the bus, epoll, sockets, children, consoles and command outputs of guests. */
#define OTHER_FDS 512u

typedef struct Server {
        Rpcd rpcd;
        Connections *connections;
        Http *http;
        Line *line;
} Server;

static void on_problem(const char *sentence, void *userdata) {
        log_warning("%s", sentence);
}

/* $HERO_CONFIG_DIR is for tests. */
static int load_config(RpcConfig *c) {
        const char *test = secure_getenv("HERO_CONFIG_DIR");
        const char *const roots[] = { test, NULL };
        struct rlimit limit;
        int r;

        r = rpc_config_defaults(c);
        if (r >= 0)
                r = rpc_config_load(c, test ? roots : NULL, environ, on_problem);
        if (r < 0)
                return log_error_errno(r, "Failed to read the configuration: %m");
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return log_error_errno(errno, "Failed to read the limit of open files: %m");
        if (limit.rlim_cur < (rlim_t) c->connections_max + OTHER_FDS) {
                c->connections_max = limit.rlim_cur > 2 * OTHER_FDS ? limit.rlim_cur - OTHER_FDS : limit.rlim_cur / 2;
                log_warning("The limit of open files (LimitNOFILE=) allows for %u connections.", c->connections_max);
        }
        return 0;
}

/* Most of what is resident after the start is code of libraries that ran once, such as TLS, which nobody here speaks. It comes
 * back from the page cache if it is wanted, for nobody has written to it (there are no relocations in what is not writable). */
static int drop_code(struct dl_phdr_info *info, size_t size, void *userdata) {
        uintptr_t page = sysconf(_SC_PAGESIZE), begin, end;

        for (unsigned i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *p = &info->dlpi_phdr[i];

                if (p->p_type != PT_LOAD || (p->p_flags & PF_W))
                        continue;
                begin = (info->dlpi_addr + p->p_vaddr) & ~(page - 1);
                end = (info->dlpi_addr + p->p_vaddr + p->p_memsz + page - 1) & ~(page - 1);
                (void) madvise((void *) begin, end - begin, MADV_DONTNEED);
        }
        return 0;
}

static int on_started(sd_event_source *source, uint64_t usec, void *userdata) {
        dl_iterate_phdr(drop_code, NULL);
        return 0;
}

static void on_drained(void *userdata) {
        Server *s = userdata;

        (void) sd_event_exit(s->rpcd.event, EXIT_SUCCESS);
}

/* The sockets are systemd's and stay: who connects from now on is served by our successor. */
static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Server *s = userdata;
        int r;

        if (connections_are_draining(s->connections))
                return sd_event_exit(s->rpcd.event, EXIT_SUCCESS);
        (void) sd_notify(false, "STOPPING=1\nSTATUS=Waiting for calls under way.");
        http_stop_listening(s->http);
        line_stop_listening(s->line);
        rpc_stop(&s->rpcd);
        guests_stop(s->rpcd.guests);
        r = connections_drain(s->connections, DRAIN_TIMEOUT, on_drained, s);
        return r < 0 ? sd_event_exit(s->rpcd.event, r) : 0;
}

static int open_event(Server *s) {
        sd_event **event = &s->rpcd.event;
        int r;

        r = sd_event_default(event);
        if (r >= 0)
                r = sd_event_set_watchdog(*event, true);
        if (r >= 0)
                r = sd_event_add_signal(*event, NULL, SIGTERM, on_signal, s);
        if (r >= 0)
                r = sd_event_add_signal(*event, NULL, SIGINT, on_signal, s);
        if (r >= 0)
                r = sd_event_add_time_relative(*event, NULL, CLOCK_MONOTONIC, START_TIME, 0, on_started, s);
        return r < 0 ? log_error_errno(r, "Failed to set up the event loop: %m") : 0;
}

static int on_name_acquired(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        uint32_t result;

        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "u", &result) < 0 ||
            (result != 1 && result != 4))
                log_warning("The bus does not give us the name " RPC_BUS_NAME "; `systemctl service-log-level` does not reach us.");
        return 0;
}

static int open_bus(Rpcd *d) {
        int r;

        r = sd_bus_open_system_with_description(&d->bus, "hero-rpcd");
        if (r < 0)
                return log_error_errno(r, "Failed to connect to the system bus: %m");
        r = sd_bus_set_exit_on_disconnect(d->bus, true);
        if (r >= 0)
                r = sd_bus_attach_event(d->bus, d->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = log_control_register(d->bus);
        if (r >= 0)
                r = sd_bus_request_name_async(d->bus, NULL, RPC_BUS_NAME, 0, on_name_acquired, NULL);
        return r < 0 ? log_error_errno(r, "Failed to set up the bus: %m") : 0;
}

static int open_parts(Server *s) {
        Rpcd *d = &s->rpcd;
        int r;

        d->started = now_usec(CLOCK_REALTIME);
        r = auth_new(d->event, &d->config, &d->auth);
        if (r >= 0)
                r = jobs_new(d, &d->jobs);
        if (r >= 0)
                r = replica_new(d, &d->replica);
        if (r >= 0)
                r = guests_new(d, &d->guests);
        if (r >= 0)
                r = connections_new(d->event, &d->config, &s->connections);
        if (r >= 0)
                r = http_new(d, s->connections, &s->http);
        if (r >= 0)
                r = line_new(d, s->connections, &s->line);
        return r < 0 ? log_error_errno(r, "Failed to start: %m") : 0;
}

/* Takes fd over. */
static int open_socket(Server *s, int fd, const char *name) {
        bool line = streq(name, "line");
        int r;

        r = sd_is_socket(fd, line ? AF_UNIX : AF_UNSPEC, SOCK_STREAM, true);
        if (r <= 0 || (!line && !streq(name, "http")))
                return log_error_errno(r < 0 ? r : -EINVAL, "The file descriptor '%s' is not a listening socket named \"http\" or "
                                       "\"line\" (FileDescriptorName=).", name);
        r = line ? line_listen(s->line, fd) : http_listen(s->http, fd);
        return r < 0 ? log_error_errno(r, "Failed to listen on the socket '%s': %m", name) : 0;
}

static int open_sockets(Server *s) {
        _cleanup_strv_free_ char **names = NULL;
        int n, r;

        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return log_error_errno(n, "Failed to take over sockets from systemd: %m");
        if (n == 0)
                return log_error_errno(-ENOTCONN, "There is no socket: hero-rpcd is started by systemd, see hero-rpcd.service(8).");
        for (int i = 0; i < n; i++) {
                r = open_socket(s, SD_LISTEN_FDS_START + i, names[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int run(Server *s) {
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return negative_errno();
        r = error_names_register();
        if (r >= 0)
                r = load_config(&s->rpcd.config);
        if (r >= 0)
                r = open_event(s);
        if (r >= 0)
                r = open_bus(&s->rpcd);
        if (r >= 0)
                r = open_parts(s);
        if (r >= 0)
                r = open_sockets(s);
        if (r < 0)
                return r;
        (void) sd_notify(false, "READY=1\nSTATUS=Answering.");
        r = sd_event_loop(s->rpcd.event);
        (void) sd_notify(false, "STOPPING=1");
        return r;
}

static void server_done(Server *s) {
        http_free(s->http);
        line_free(s->line);
        connections_free(s->connections);
        guests_free(s->rpcd.guests);
        jobs_free(s->rpcd.jobs); /* answers who still waits, which looks at the replica */
        replica_free(s->rpcd.replica);
        auth_free(s->rpcd.auth);
        sd_bus_flush_close_unref(s->rpcd.bus);
        sd_event_unref(s->rpcd.event);
        rpc_config_done(&s->rpcd.config);
}

int main(int argc, char *argv[]) {
        Server s = {};
        int r;

        log_setup("hero-rpcd");
        if (argc > 1) {
                log_error("hero-rpcd takes no arguments, see hero-rpcd.service(8).");
                return EXIT_FAILURE;
        }
        r = run(&s);
        server_done(&s);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
