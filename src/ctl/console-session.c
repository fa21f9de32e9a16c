/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/console-session.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/relay.h"
#include "ctl/signal-set.h"
#include "ctl/terminal.h"

#define WITH_HISTORY UINT64_C(1)

struct ConsoleSession {
        sd_event *event;
        char *vm;
        int fd;
        Flow *in, *out;
        sd_event_source *signals[6];
        size_t n_signals;
        EscapeDetector escape;
        bool input;
        bool raw;
        bool detached;
        int status;
};

ConsoleSession *console_session_free(ConsoleSession *c) {
        if (!c)
                return NULL;
        flow_free(c->in);
        flow_free(c->out);
        for (size_t i = 0; i < c->n_signals; i++)
                sd_event_source_disable_unref(c->signals[i]);
        safe_close(c->fd);
        sd_event_unref(c->event);
        free(c->vm);
        return mfree(c);
}

static size_t filter_input(Flow *f, char *p, size_t n, void *userdata) {
        ConsoleSession *c = userdata;
        size_t k;

        if (!c->raw) /* a script may send any byte */
                return n;
        k = escape_detect(&c->escape, p, n, now_usec(CLOCK_MONOTONIC));
        if (k > n)
                return n;
        c->detached = true;
        flow_finish(f);
        return k;
}

/* The end of standard input is not the end of the console: what the guest answers is still to come. */
static void on_input_done(Flow *f, int error, void *userdata) {
        ConsoleSession *c = userdata;

        c->in = flow_free(f);
        if (c->detached)
                sd_event_exit(c->event, 0);
}

static void on_output_done(Flow *f, int error, void *userdata) {
        ConsoleSession *c = userdata;

        c->out = flow_free(f);
        if (error < 0)
                c->status = error == -EPIPE ? STATUS_SIGNAL + SIGPIPE : STATUS_FAILURE;
        sd_event_exit(c->event, 0);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        ConsoleSession *c = userdata;

        if (si->ssi_signo == SIGTSTP) {
                terminal_stop();
                return 0;
        }
        if (si->ssi_signo == SIGCONT)
                return c->raw ? terminal_raw() : 0;
        c->status = STATUS_SIGNAL + (int) si->ssi_signo;
        return sd_event_exit(c->event, 0);
}

static int add_signals(ConsoleSession *c) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };
        int r;

        r = signals_block(signals, ELEMENTSOF(signals));
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                if (!signal_is_wanted(signals[i]))
                        continue;
                r = sd_event_add_signal(c->event, c->signals + c->n_signals, signals[i], on_signal, c);
                if (r < 0)
                        return r;
                c->n_signals++;
        }
        return 0;
}

static int relay(ConsoleSession *c) {
        int r;

        r = sd_event_new(&c->event);
        if (r < 0)
                return r;
        r = add_signals(c);
        if (r < 0)
                return r;
        r = flow_new(c->event, c->fd, STDOUT_FILENO, on_output_done, c, &c->out);
        if (r < 0)
                return r;
        if (c->input) {
                r = flow_new(c->event, STDIN_FILENO, c->fd, on_input_done, c, &c->in);
                if (r < 0)
                        return r;
                flow_set_filter(c->in, filter_input);
                c->raw = terminal_is_input();
        }
        if (c->raw) {
                r = terminal_raw();
                if (r < 0)
                        return r;
        }
        r = sd_event_loop(c->event);
        terminal_restore();
        return r;
}

int console_session_open(sd_bus *bus, const char *path, const char *vm, bool history, bool input, ConsoleSession **ret,
                         sd_bus_error *error) {
        _cleanup_console_session_ ConsoleSession *c = NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        c = new0(ConsoleSession, 1);
        if (!c)
                return -ENOMEM;
        c->fd = -EBADF;
        c->input = input;
        c->vm = strdup(vm);
        if (!c->vm)
                return -ENOMEM;
        r = vm_call(bus, path, "OpenConsole", error, &reply, "t", history ? WITH_HISTORY : 0);
        if (r >= 0)
                r = message_take_fd(reply, &c->fd);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

int console_session_run(ConsoleSession *c, bool *ret_left) {
        int r;

        *ret_left = false;
        if (!arg_quiet && c->input && terminal_is_input())
                fprintf(stderr, "Connected to VM '%s'. Press Ctrl-] three times within 1s to leave.\n", c->vm);
        r = relay(c);
        if (r < 0)
                return report_error(r, NULL, "relay the console of VM '%s'", c->vm);
        *ret_left = c->detached;
        return c->status;
}
