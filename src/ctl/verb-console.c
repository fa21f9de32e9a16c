/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl console: the VM's serial console on this terminal, until Ctrl-] is pressed three times within a second
 * or the VM stops. */

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
#include "ctl/polkit-agent.h"
#include "ctl/relay.h"
#include "ctl/resolve.h"
#include "ctl/terminal.h"

#define WITH_HISTORY UINT64_C(1)

static bool arg_no_history = false;

typedef struct Console {
        sd_event *event;
        int fd;
        Flow *in, *out;
        sd_event_source *signals[6];
        size_t n_signals;
        EscapeDetector escape;
        bool raw;
        bool detached;
        int status;
} Console;

static void console_done(Console *c) {
        flow_free(c->in);
        flow_free(c->out);
        for (size_t i = 0; i < c->n_signals; i++)
                sd_event_source_disable_unref(c->signals[i]);
        safe_close(c->fd);
        sd_event_unref(c->event);
}

static size_t filter_input(Flow *f, char *p, size_t n, void *userdata) {
        Console *c = userdata;
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
        Console *c = userdata;

        c->in = flow_free(f);
        if (c->detached)
                sd_event_exit(c->event, 0);
}

static void on_output_done(Flow *f, int error, void *userdata) {
        Console *c = userdata;

        c->out = flow_free(f);
        if (error < 0)
                c->status = error == -EPIPE ? STATUS_SIGNAL + SIGPIPE : STATUS_FAILURE;
        sd_event_exit(c->event, 0);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Console *c = userdata;

        if (si->ssi_signo == SIGTSTP) {
                terminal_stop();
                return 0;
        }
        if (si->ssi_signo == SIGCONT)
                return c->raw ? terminal_raw() : 0;
        c->status = STATUS_SIGNAL + (int) si->ssi_signo;
        return sd_event_exit(c->event, 0);
}

static int add_signals(Console *c) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };
        sigset_t ss;
        int r;

        sigemptyset(&ss);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&ss, signals[i]);
        if (sigprocmask(SIG_BLOCK, &ss, NULL) < 0)
                return negative_errno();
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = sd_event_add_signal(c->event, c->signals + c->n_signals, signals[i], on_signal, c);
                if (r < 0)
                        return r;
                c->n_signals++;
        }
        return 0;
}

static int relay(Console *c) {
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
        r = flow_new(c->event, STDIN_FILENO, c->fd, on_input_done, c, &c->in);
        if (r < 0)
                return r;
        flow_set_filter(c->in, filter_input);
        c->raw = terminal_is_input();
        if (c->raw) {
                r = terminal_raw();
                if (r < 0)
                        return r;
        }
        r = sd_event_loop(c->event);
        terminal_restore();
        return r;
}

static int open_console(const char *given, Console *c, char **ret_name) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, given, &path, ret_name, &error);
        if (r >= 0)
                r = vm_call(bus, path, "OpenConsole", &error, &reply, "t", arg_no_history ? 0 : WITH_HISTORY);
        if (r >= 0)
                r = message_take_fd(reply, &c->fd);
        return r < 0 ? report_error(r, &error, "open the console of VM '%s'", *ret_name ?: given) : 0;
}

static int run(int argc, char **argv) {
        _cleanup_(console_done) Console c = { .fd = -EBADF };
        _cleanup_free_ char *name = NULL;
        int r;

        r = open_console(argv[0], &c, &name);
        if (r < 0)
                return r;
        polkit_agent_close(); /* it must not take what is typed to the console */
        if (!arg_quiet && terminal_is_input())
                fprintf(stderr, "Connected to VM '%s'. Press Ctrl-] three times within 1s to leave.\n", name);
        r = relay(&c);
        if (r < 0)
                return report_error(r, NULL, "relay the console of VM '%s'", name);
        if (!arg_quiet && c.status == 0)
                fprintf(stderr, "\n%s VM '%s'.\n", c.detached ? "Left" : "End of the console of", name);
        return c.status;
}

static const Option options[] = {
        { 0, "no-history", NULL, OPTION_FLAG, &arg_no_history, "Do not show what was written before" },
        {},
};

const Verb verb_console = {
        .name = "console",
        .arguments = "VM",
        .summary = "Use the console of a VM; Ctrl-] three times leaves it",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
