/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl logs: what the guest wrote to its console. On a terminal its control sequences other than colours are
 * left out, for a guest is not to be trusted with somebody's terminal. */

#include <signal.h>
#include <stdio.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/log-tail.h"
#include "ctl/relay.h"
#include "ctl/resolve.h"
#include "ctl/sanitize.h"

static bool arg_follow = false, arg_raw = false;
static const char *arg_amount = NULL;

typedef struct LogRelay {
        sd_event *event;
        Flow *flow;
        Sanitizer sanitizer;
        int error;
} LogRelay;

static void log_relay_done(LogRelay *l) {
        flow_free(l->flow);
        sd_event_unref(l->event);
}

static void on_done(Flow *f, int error, void *userdata) {
        LogRelay *l = userdata;

        l->flow = flow_free(f);
        l->error = error;
        sd_event_exit(l->event, 0);
}

static size_t filter(Flow *f, char *p, size_t n, void *userdata) {
        LogRelay *l = userdata;
        _cleanup_free_ char *out = NULL;

        out = malloc(n + SANITIZE_EXTRA);
        if (!out)
                return 0;
        n = sanitize_stream(&l->sanitizer, p, n, out);
        memcpy(p, out, n);
        return n;
}

static int relay(int fd) {
        _cleanup_(log_relay_done) LogRelay l = {};
        int r;

        static_assert(FLOW_FILTER_EXTRA >= SANITIZE_EXTRA, "filter may overrun");
        r = sd_event_new(&l.event);
        if (r < 0)
                return r;
        r = flow_new(l.event, fd, STDOUT_FILENO, on_done, &l, &l.flow);
        if (r < 0)
                return r;
        if (!arg_raw && isatty(STDOUT_FILENO))
                flow_set_filter(l.flow, filter);
        r = sd_event_loop(l.event);
        if (r < 0)
                return r;
        return l.error;
}

/* "20": lines; "4K": bytes. */
static int parse_amount(uint64_t *ret_lines, uint64_t *ret_bytes) {
        *ret_lines = *ret_bytes = 0;
        if (!arg_amount || streq(arg_amount, "all"))
                return 0;
        if (parse_uint64(arg_amount, ret_lines) >= 0)
                return *ret_lines > 0 ? 0 : -EINVAL;
        if (parse_size(arg_amount, ret_bytes) >= 0)
                return *ret_bytes > 0 ? 0 : -EINVAL;
        return -EINVAL;
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_close_ int fd = -EBADF;
        uint64_t lines, bytes;
        int r;

        if (parse_amount(&lines, &bytes) < 0) {
                fprintf(stderr, "Option --lines: '%s' is neither a number of lines nor a size such as 4K.\n", arg_amount);
                return STATUS_USAGE;
        }
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, argv[0], &path, &name, &error);
        if (r >= 0 && lines > 0)
                r = log_tail_size(bus, path, lines, &bytes, &error);
        if (r >= 0)
                r = log_open(bus, path, bytes, arg_follow, &fd, &error);
        if (r < 0)
                return report_error(r, &error, "read the log of VM '%s'", name ?: argv[0]);
        r = relay(fd);
        if (r == -EPIPE)
                return STATUS_SIGNAL + SIGPIPE;
        return r < 0 ? report_error(r, NULL, "show the log of VM '%s'", name) : 0;
}

static const Option options[] = {
        { 'f', "follow", NULL, OPTION_FLAG, &arg_follow, "Go on with what comes, until interrupted" },
        { 'n', "lines", "N|SIZE", OPTION_STRING, &arg_amount, "The last N lines, or bytes: 4K (all)" },
        { 0, "raw", NULL, OPTION_FLAG, &arg_raw, "On a terminal too, every control character" },
        {},
};

const Verb verb_logs = {
        .name = "logs",
        .arguments = "VM",
        .summary = "Show what a VM wrote to its console",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
