/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl top: what VMs use now, live on a terminal, else once. The numbers are hero-metricsd's. */

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/table.h"
#include "ctl/terminal.h"
#include "ctl/top-rows.h"

#define METRICS "org.hero.Compute.Metrics"
#define METRICS_PATH "/org/hero/Compute/Metrics"

#define CONTROL_C 0x03
#define CONTROL_Z 0x1a

static const char *arg_sort = NULL;
static uint64_t arg_interval = 0;
static bool arg_once = false;

static int get_rows(sd_bus *bus, TopSort sort, TopRows *ret) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call_method(bus, METRICS, METRICS_PATH, METRICS, "Latest", &error, &reply, NULL);
        if (r >= 0)
                r = top_rows_read(reply, ret);
        if (r < 0)
                return report_error(r, &error, "read what VMs use");
        top_rows_sort(ret, sort);
        return 0;
}

static uint64_t whole(double v) {
        return v >= 0 && v < 1e19 ? (uint64_t) (v + 0.5) : UINT64_MAX;
}

static int show_once(const TopRows *rows) {
        static const Column columns[] = {
                { "NAME", "name", COLUMN_STRING },
                { "ID", "id", COLUMN_STRING, COLUMN_JSON_ONLY },
                { "USER", "user", COLUMN_STRING },
                { "STATE", "state", COLUMN_STRING },
                { "CPU%", "cpu-percent", COLUMN_PERCENT },
                { "MEMORY", "memory", COLUMN_RATE },
                { "OF", "memory-limit", COLUMN_RATE },
                { "RECV/s", "receive", COLUMN_RATE },
                { "SENT/s", "transmit", COLUMN_RATE },
                { "READ/s", "read", COLUMN_RATE },
                { "WRITE/s", "write", COLUMN_RATE },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        r = table_new(columns, ELEMENTSOF(columns), &t);
        for (size_t i = 0; r >= 0 && i < rows->n; i++) {
                const TopRow *row = rows->rows + i;

                r = table_add(t, row->name, row->id, row->user, row->state, row->cpu, whole(row->memory), whole(row->memory_limit),
                              whole(row->receive), whole(row->transmit), whole(row->read), whole(row->write));
        }
        return r < 0 ? r : table_print(t, "VMs");
}

static int put_line(const TopRow *row, unsigned columns) {
        _cleanup_free_ char *line = NULL;
        int r;

        r = top_line(row, columns, &line);
        if (r >= 0)
                printf("%s\x1b[K\r\n", line);
        return r;
}

/* Over what was there, so that nothing flickers. */
static int draw(const TopRows *rows, TopSort sort) {
        unsigned lines = 24, columns = 80;
        size_t n;
        int r;

        (void) terminal_size(&lines, &columns);
        n = lines > 4 ? MIN2(rows->n, (size_t) lines - 3) : 1;
        printf("\x1b[H%zu VMs, by %s. c: CPU, m: memory, r: received, t: sent, n: name, q: leave\x1b[K\r\n", rows->n,
               top_sort_to_string(sort));
        r = put_line(NULL, columns);
        for (size_t i = 0; r >= 0 && i < n && i < rows->n; i++)
                r = put_line(rows->rows + i, columns);
        fputs("\x1b[J", stdout);
        return r < 0 ? r : fflush(stdout) == 0 ? 0 : negative_errno();
}

/* 1: leave. */
static int take_key(char key, TopSort *sort) {
        static const struct {
                char key;
                TopSort sort;
        } keys[] = { { 'c', TOP_CPU }, { 'm', TOP_MEMORY }, { 'r', TOP_RECEIVE }, { 't', TOP_TRANSMIT }, { 'n', TOP_NAME } };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (keys[i].key == key)
                        *sort = keys[i].sort;
        if (key == CONTROL_Z) {
                terminal_stop();
                return terminal_raw();
        }
        return key == 'q' || key == CONTROL_C;
}

/* Until the time, or a key: 1: leave; 0: draw. */
static int wait_for_key(uint64_t until, TopSort *sort) {
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        char key;
        int r;

        r = poll(&p, 1, now >= until ? 0 : (int) MIN2((until - now) / USEC_PER_MSEC + 1, (uint64_t) INT32_MAX));
        if (r <= 0)
                return r < 0 && errno != EINTR ? negative_errno() : 0;
        return read(STDIN_FILENO, &key, 1) == 1 ? take_key(key, sort) : 1;
}

static int watch(sd_bus *bus, TopSort sort, uint64_t interval) {
        int r;

        r = terminal_raw();
        if (r < 0)
                return r;
        fputs("\x1b[2J", stdout);
        for (;;) {
                uint64_t until = now_usec(CLOCK_MONOTONIC) + interval;
                TopRows rows = {};

                r = get_rows(bus, sort, &rows);
                while (r == 0) {
                        r = draw(&rows, sort);
                        if (r == 0)
                                r = wait_for_key(until, &sort);
                        if (now_usec(CLOCK_MONOTONIC) >= until)
                                break;
                        top_rows_sort(&rows, sort);
                }
                top_rows_done(&rows);
                if (r != 0)
                        break;
        }
        terminal_restore();
        return r > 0 ? 0 : r;
}

/* As often as there is something new. */
static uint64_t interval_of(sd_bus *bus) {
        uint64_t usec = 0;

        if (arg_interval > 0)
                return MAX2(arg_interval, 100 * USEC_PER_MSEC);
        if (sd_bus_get_property_trivial(bus, METRICS, METRICS_PATH, METRICS, "IntervalUSec", NULL, 't', &usec) < 0)
                return 5 * USEC_PER_SEC;
        return MAX2(usec, USEC_PER_SEC);
}

static int run(int argc, char **argv) {
        TopSort sort = arg_sort ? top_sort_from_string(arg_sort) : TOP_CPU;
        _cleanup_bus_ sd_bus *bus = NULL;
        TopRows rows = {};
        int r;

        if (sort < 0) {
                fprintf(stderr, "Option --sort: '%s' is not one of cpu, memory, receive, transmit, name.\n", arg_sort);
                return STATUS_USAGE;
        }
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        if (!arg_once && arg_json == JSON_OFF && terminal_is_input() && isatty(STDOUT_FILENO))
                return watch(bus, sort, interval_of(bus));
        r = get_rows(bus, sort, &rows);
        if (r >= 0)
                r = show_once(&rows);
        top_rows_done(&rows);
        return r;
}

static const Option options[] = {
        { 0, "sort", "KEY", OPTION_STRING, &arg_sort, "By cpu, memory, receive, transmit or name" },
        { 0, "interval", "TIME", OPTION_USEC, &arg_interval, "How often; else as often as VMs are sampled" },
        { 0, "once", NULL, OPTION_FLAG, &arg_once, "Show it once and leave" },
        {},
};

const Verb verb_top = {
        .name = "top",
        .arguments = "",
        .summary = "Show what VMs use, live",
        .options = options,
        .run = run,
};
