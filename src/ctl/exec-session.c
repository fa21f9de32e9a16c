/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/exec-session.h"

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
#include "ctl/relay.h"
#include "ctl/sanitize.h"
#include "ctl/signal-set.h"
#include "ctl/spec.h"
#include "ctl/terminal.h"

#define INTERRUPTS_TO_LEAVE 3u

struct ExecSession {
        ExecSessionOptions options;
        sd_event *event;
        int stdio, error_output, control;
        Flow *in, *out, *err;
        sd_event_source *control_source, *patience, *signals[10];
        size_t n_signals;
        char *vm;
        const char *command;
        bool raw;
        bool ended; /* the last message came, or will not come */
        unsigned interrupts;
        int status;
};

ExecSession *exec_session_free(ExecSession *s) {
        if (!s)
                return NULL;
        flow_free(s->in);
        flow_free(s->out);
        flow_free(s->err);
        sd_event_source_disable_unref(s->control_source);
        sd_event_source_disable_unref(s->patience);
        for (size_t i = 0; i < s->n_signals; i++)
                sd_event_source_disable_unref(s->signals[i]);
        safe_close(s->stdio);
        safe_close(s->error_output);
        safe_close(s->control);
        sd_event_unref(s->event);
        free(s->vm);
        return mfree(s);
}

/* Over when the result is known and all output has been written: output first, or its end would be lost. */
static void check_end(ExecSession *s) {
        if (s->ended && !s->out && !s->err)
                sd_event_exit(s->event, 0);
}

static void on_input_done(Flow *f, int error, void *userdata) {
        ExecSession *s = userdata;

        s->in = flow_free(f);
        (void) shutdown(s->stdio, SHUT_WR);
}

static void on_output_done(Flow *f, int error, void *userdata) {
        ExecSession *s = userdata;

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

static void take_result(ExecSession *s, const char *message) {
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
        ExecSession *s = userdata;
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

static void send_control(ExecSession *s, const char *format, unsigned a, unsigned b) {
        char message[64];
        int n;

        n = snprintf(message, sizeof(message), format, a, b);
        (void) send(s->control, message, (size_t) n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_size(ExecSession *s) {
        unsigned rows, columns;

        if (s->options.tty && terminal_size(&rows, &columns) >= 0)
                send_control(s, "resize %u %u", rows, columns);
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata) {
        ExecSession *s = userdata;

        return sd_event_exit(s->event, 0); /* the status is set */
}

/* The command was told to end and may take a while, not for ever. */
static void set_patience(ExecSession *s, int sig) {
        if (s->options.patience_usec == 0 || s->patience || (sig != SIGTERM && sig != SIGHUP))
                return;
        s->status = STATUS_SIGNAL + sig;
        (void) sd_event_add_time_relative(s->event, &s->patience, CLOCK_MONOTONIC, s->options.patience_usec, 0, on_patience,
                                          s);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        ExecSession *s = userdata;
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
        set_patience(s, sig);
        return 0;
}

static int add_signals(ExecSession *s) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH,
                                       SIGTSTP, SIGCONT };
        int r;

        r = signals_block(signals, ELEMENTSOF(signals));
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                if (!signal_is_wanted(signals[i]))
                        continue;
                r = sd_event_add_signal(s->event, s->signals + s->n_signals, signals[i], on_signal, s);
                if (r < 0)
                        return r;
                s->n_signals++;
        }
        return 0;
}

/* The terminal's type first, so that the caller's own wins. */
static int append_environment(sd_bus_message *m, const ExecSessionOptions *o) {
        _cleanup_strv_free_ char **all = NULL;
        const char *term = getenv("TERM");
        int r = 0;

        if (o->tty && term)
                r = strv_extendf(&all, "TERM=%s", term);
        STRV_FOREACH(e, o->environment)
                if (r >= 0)
                        r = strv_extend(&all, *e);
        if (r < 0 || !all)
                return r;
        return append_variant(m, "Environment", "as", all);
}

static int append_options(sd_bus_message *m, const ExecSessionOptions *o) {
        unsigned rows, columns;
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_environment(m, o);
        if (r >= 0 && o->directory)
                r = append_variant(m, "WorkingDirectory", "s", o->directory);
        if (r >= 0 && o->user)
                r = append_variant(m, "User", "s", o->user);
        if (r >= 0 && o->tty)
                r = append_variant(m, "TTY", "b", 1);
        if (r >= 0 && o->tty && terminal_size(&rows, &columns) >= 0) {
                r = append_variant(m, "Rows", "u", rows);
                if (r >= 0)
                        r = append_variant(m, "Columns", "u", columns);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int call(sd_bus *bus, const char *path, char *const *command, ExecSession *s, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, path, HERO_VM, "Exec");
        if (r < 0)
                return r;
        r = sd_bus_message_append_strv(m, (char **) command);
        if (r < 0)
                return r;
        r = append_options(m, &s->options);
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

static int relay(ExecSession *s) {
        int r;

        r = sd_event_new(&s->event);
        if (r < 0)
                return r;
        r = add_signals(s);
        if (r < 0)
                return r;
        if (s->options.interactive) {
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
        s->raw = s->options.tty && s->options.interactive && terminal_is_input();
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

int exec_session_open(sd_bus *bus, const char *path, const char *vm, char *const *command, const ExecSessionOptions *options,
                      ExecSession **ret, sd_bus_error *error) {
        _cleanup_exec_session_ ExecSession *s = NULL;
        int r;

        s = new0(ExecSession, 1);
        if (!s)
                return -ENOMEM;
        s->stdio = s->error_output = s->control = -EBADF;
        s->options = *options;
        s->command = command[0];
        s->status = STATUS_EXEC;
        s->vm = strdup(vm);
        if (!s->vm)
                return -ENOMEM;
        r = call(bus, path, command, s, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

int exec_session_run(ExecSession *s) {
        int r;

        r = relay(s);
        if (r < 0) {
                report_error(r, NULL, "run the command in VM '%s'", s->vm);
                return STATUS_EXEC;
        }
        return s->status;
}
