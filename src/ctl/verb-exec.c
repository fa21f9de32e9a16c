/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl exec: a command in the guest as if it ran here: its streams, its terminal, the signals meant for it and
 * its exit status. The bus is needed for one call only; after it three sockets are all there is. */

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/exec-result.h"
#include "ctl/heroctl.h"
#include "ctl/polkit-agent.h"
#include "ctl/relay.h"
#include "ctl/resolve.h"
#include "ctl/sanitize.h"
#include "ctl/spec.h"
#include "ctl/terminal.h"

#define INTERRUPTS_TO_LEAVE 3u

static bool arg_interactive = false, arg_tty = false;
static const char *arg_user = NULL, *arg_directory = NULL;
static char **arg_environment = NULL;

typedef struct Session {
        sd_event *event;
        int stdio, error_output, control;
        Flow *in, *out, *err;
        sd_event_source *control_source, *signals[10];
        size_t n_signals;
        const char *vm, *command;
        bool raw;
        bool ended; /* the last message came, or will not come */
        unsigned interrupts;
        int status;
} Session;

static void session_done(Session *s) {
        flow_free(s->in);
        flow_free(s->out);
        flow_free(s->err);
        sd_event_source_disable_unref(s->control_source);
        for (size_t i = 0; i < s->n_signals; i++)
                sd_event_source_disable_unref(s->signals[i]);
        safe_close(s->stdio);
        safe_close(s->error_output);
        safe_close(s->control);
        sd_event_unref(s->event);
}

/* Over when the result is known and all output has been written: output first, or its end would be lost. */
static void check_end(Session *s) {
        if (s->ended && !s->out && !s->err)
                sd_event_exit(s->event, 0);
}

static void on_input_done(Flow *f, int error, void *userdata) {
        Session *s = userdata;

        s->in = flow_free(f);
        (void) shutdown(s->stdio, SHUT_WR);
}

static void on_output_done(Flow *f, int error, void *userdata) {
        Session *s = userdata;

        if (f == s->out)
                s->out = NULL;
        else
                s->err = NULL;
        flow_free(f);
        if (error < 0) { /* nobody reads what the command says: it ends as by SIGPIPE (control is closed) */
                s->status = error == -EPIPE ? STATUS_SIGNAL + SIGPIPE : STATUS_EXEC;
                if (error != -EPIPE)
                        fprintf(stderr, "Failed to write the output of the command: %s.\n", strerror(-error));
                sd_event_exit(s->event, 0);
                return;
        }
        check_end(s);
}

static void take_result(Session *s, const char *message) {
        _cleanup_free_ char *text = NULL, *clean = NULL;
        ExecResult kind;

        kind = exec_result_parse(message, &s->status, &text);
        s->ended = true;
        if (kind == EXEC_ENDED)
                return;
        terminal_restore();
        clean = sanitize_line(strempty(text));
        if (clean && clean[0] && clean[strlen(clean) - 1] == '.') /* of the agent's sentence; ours has one */
                clean[strlen(clean) - 1] = 0;
        if (kind == EXEC_FAILED)
                fprintf(stderr, "Failed to execute '%s' in VM '%s': %s.\n", s->command, s->vm, strna(clean));
        else
                fprintf(stderr, "Lost the command in VM '%s': %s.\n", s->vm, isempty(clean) ? "the VM went away" : clean);
}

static int on_control(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Session *s = userdata;
        char message[4096];
        ssize_t n;

        n = recv(fd, message, sizeof(message) - 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        message[n > 0 ? n : 0] = 0;
        if (n > 0 && !exec_result_is(message)) /* something newer; only results count */
                return 0;
        take_result(s, n > 0 ? message : "lost");
        s->control_source = sd_event_source_disable_unref(s->control_source);
        check_end(s);
        return 0;
}

static void send_control(Session *s, const char *format, unsigned a, unsigned b) {
        char message[64];
        int n;

        n = snprintf(message, sizeof(message), format, a, b);
        (void) send(s->control, message, (size_t) n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_size(Session *s) {
        unsigned rows, columns;

        if (arg_tty && terminal_size(&rows, &columns) >= 0)
                send_control(s, "resize %u %u", rows, columns);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Session *s = userdata;
        int sig = (int) si->ssi_signo;

        if (sig == SIGWINCH) {
                send_size(s);
                return 0;
        }
        if (sig == SIGTSTP) {
                terminal_stop();
                return 0;
        }
        if (sig == SIGCONT) { /* after a stop from outside the shell has had its own mode */
                if (s->raw)
                        (void) terminal_raw();
                send_size(s);
                return 0;
        }
        /* With a terminal of its own the command gets what is typed, and a signal is meant for us. */
        if (s->raw || (sig == SIGINT && ++s->interrupts >= INTERRUPTS_TO_LEAVE)) {
                s->status = STATUS_SIGNAL + sig;
                return sd_event_exit(s->event, 0);
        }
        send_control(s, "signal %u", (unsigned) sig, 0);
        return 0;
}

static int add_signals(Session *s) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH,
                                       SIGTSTP, SIGCONT };
        sigset_t ss;
        int r;

        sigemptyset(&ss);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&ss, signals[i]);
        if (sigprocmask(SIG_BLOCK, &ss, NULL) < 0)
                return negative_errno();
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = sd_event_add_signal(s->event, s->signals + s->n_signals, signals[i], on_signal, s);
                if (r < 0)
                        return r;
                s->n_signals++;
        }
        return 0;
}

static int append_options(sd_bus_message *m) {
        unsigned rows, columns;
        const char *term;
        int r;

        term = getenv("TERM");
        if (arg_tty && term) { /* before the caller's own, which win */
                _cleanup_strv_free_ char **given = arg_environment;

                arg_environment = NULL;
                r = strv_extendf(&arg_environment, "TERM=%s", term);
                STRV_FOREACH(e, given)
                        if (r >= 0)
                                r = strv_extend(&arg_environment, *e);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && arg_environment)
                r = append_variant(m, "Environment", "as", arg_environment);
        if (r >= 0 && arg_directory)
                r = append_variant(m, "WorkingDirectory", "s", arg_directory);
        if (r >= 0 && arg_user)
                r = append_variant(m, "User", "s", arg_user);
        if (r >= 0 && arg_tty)
                r = append_variant(m, "TTY", "b", 1);
        if (r >= 0 && arg_tty && terminal_size(&rows, &columns) >= 0) {
                r = append_variant(m, "Rows", "u", rows);
                if (r >= 0)
                        r = append_variant(m, "Columns", "u", columns);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int call(sd_bus *bus, const char *path, char **command, Session *s, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, path, HERO_VM, "Exec");
        if (r < 0)
                return r;
        r = sd_bus_message_append_strv(m, command);
        if (r < 0)
                return r;
        r = append_options(m);
        if (r < 0)
                return r;
        r = sd_bus_call(bus, m, 0, error, &reply);
        if (r < 0)
                return r;
        r = message_take_fd(reply, &s->stdio);
        if (r >= 0)
                r = message_take_fd(reply, &s->error_output);
        if (r >= 0)
                r = message_take_fd(reply, &s->control);
        return r;
}

static int relay(Session *s) {
        int r;

        r = sd_event_new(&s->event);
        if (r < 0)
                return r;
        r = add_signals(s);
        if (r < 0)
                return r;
        if (arg_interactive) {
                r = flow_new(s->event, STDIN_FILENO, s->stdio, on_input_done, s, &s->in);
                if (r < 0)
                        return r;
        } else
                (void) shutdown(s->stdio, SHUT_WR);
        r = flow_new(s->event, s->stdio, STDOUT_FILENO, on_output_done, s, &s->out);
        if (r < 0)
                return r;
        r = flow_new(s->event, s->error_output, STDERR_FILENO, on_output_done, s, &s->err);
        if (r < 0)
                return r;
        r = sd_event_add_io(s->event, &s->control_source, s->control, EPOLLIN, on_control, s);
        if (r < 0)
                return r;
        s->raw = arg_tty && arg_interactive && terminal_is_input();
        if (s->raw) {
                r = terminal_raw();
                if (r < 0)
                        return r;
        }
        send_size(s); /* it may have changed while the call was on its way */
        r = sd_event_loop(s->event);
        terminal_restore();
        return r;
}

static int open_session(const char *given, char **command, Session *s, char **ret_name) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, given, &path, ret_name, &error);
        if (r >= 0)
                r = call(bus, path, command, s, &error);
        if (r < 0)
                return report_error(r, &error, "execute '%s' in VM '%s'", command[0], *ret_name ?: given);
        return 0;
}

static int run(int argc, char **argv);

static const Option options[] = {
        { 'i', "interactive", NULL, OPTION_FLAG, &arg_interactive, "Pass standard input on" },
        { 't', "tty", NULL, OPTION_FLAG, &arg_tty, "Give the command a terminal" },
        { 'u', "user", "USER", OPTION_STRING, &arg_user, "User of the guest to run as, NAME or UID[:GROUP]" },
        { 'e', "env", "NAME=VALUE", OPTION_STRV, &arg_environment, "Environment variable, repeatable" },
        { 'w', "workdir", "PATH", OPTION_STRING, &arg_directory, "Working directory in the guest" },
        {},
};

const Verb verb_exec = {
        .name = "exec",
        .arguments = "VM [--] COMMAND…",
        .summary = "Run a command in a VM",
        .help = "\nExits with the command's status, 128 + N when signal N killed it, 127 when it was not found,\n"
                "126 when it could not be executed, 125 when anything failed before that.\n",
        .options = options,
        .options_first = true,
        .min = 2,
        .max = -1,
        .run = run,
};

/* Options may stand behind the VM too: heroctl exec VM -it -- sh. */
static int options_behind_vm(int argc, char **argv, char ***ret_command) {
        int first, r;

        r = parse_options(options, true, argc, argv, &first);
        if (r < 0)
                return r;
        *ret_command = argv + first;
        if (!argv[first]) {
                fprintf(stderr, "Too few arguments. Usage: heroctl exec [OPTIONS…] %s\n", verb_exec.arguments);
                return -EINVAL;
        }
        return 0;
}

static int run(int argc, char **argv) {
        _cleanup_(session_done) Session s = { .stdio = -EBADF, .error_output = -EBADF, .control = -EBADF,
                                              .status = STATUS_EXEC };
        _cleanup_free_ char *name = NULL;
        char **command;
        int r;

        if (options_behind_vm(argc, argv, &command) < 0)
                return STATUS_EXEC;
        r = open_session(argv[0], command, &s, &name);
        arg_environment = strv_free(arg_environment);
        if (r < 0)
                return STATUS_EXEC;
        polkit_agent_close(); /* it must not take what is typed to the command */
        s.vm = name;
        s.command = command[0];
        r = relay(&s);
        if (r < 0)
                return report_error(r, NULL, "run the command in VM '%s'", name), STATUS_EXEC;
        return s.status;
}
