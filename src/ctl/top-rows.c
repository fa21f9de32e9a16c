/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/top-rows.h"

#include <math.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/sanitize.h"

#define METRICS_MAX 64u

static const char *const top_sort_table[_TOP_SORT_MAX] = {
        [TOP_CPU] = "cpu",           [TOP_MEMORY] = "memory", [TOP_RECEIVE] = "receive",
        [TOP_TRANSMIT] = "transmit", [TOP_NAME] = "name",
};
DEFINE_STRING_TABLE_LOOKUP(top_sort, TopSort);

static const struct {
        const char *metric;
        size_t offset;
} members[] = {
        { "cpu_percent", offsetof(TopRow, cpu) },
        { "memory_bytes", offsetof(TopRow, memory) },
        { "memory_limit_bytes", offsetof(TopRow, memory_limit) },
        { "network_receive_bytes_per_second", offsetof(TopRow, receive) },
        { "network_transmit_bytes_per_second", offsetof(TopRow, transmit) },
        { "disk_read_bytes_per_second", offsetof(TopRow, read) },
        { "disk_write_bytes_per_second", offsetof(TopRow, write) },
};

void top_rows_done(TopRows *t) {
        for (size_t i = 0; i < t->n; i++) {
                free(t->rows[i].id);
                free(t->rows[i].name);
                free(t->rows[i].user);
                free(t->rows[i].state);
        }
        free(t->rows);
        *t = (TopRows) {};
}

/* Where in the arrays of numbers each of our members is; ELEMENTSOF(members): nowhere. */
static int read_names(sd_bus_message *m, size_t member_of[static METRICS_MAX]) {
        const char *name;
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "s", &name)) > 0) {
                size_t i = 0;

                while (i < ELEMENTSOF(members) && !streq(members[i].metric, name))
                        i++;
                if (n < METRICS_MAX)
                        member_of[n++] = i;
        }
        while (n < METRICS_MAX)
                member_of[n++] = ELEMENTSOF(members);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_row(sd_bus_message *m, const size_t member_of[static METRICS_MAX], TopRows *t) {
        const char *id, *name, *user, *state;
        const double *values;
        uint64_t time;
        TopRow *row;
        size_t size;
        int r;

        if (!GREEDY_REALLOC(t->rows, t->n_allocated, t->n + 1))
                return -ENOMEM;
        r = sd_bus_message_read(m, "sssst", &id, &name, &user, &state, &time);
        if (r >= 0)
                r = sd_bus_message_read_array(m, 'd', (const void **) &values, &size);
        if (r < 0)
                return r;
        row = t->rows + t->n++;
        *row = (TopRow) { strdup(id), sanitize_line(name), sanitize_line(user), strdup(state), NAN, NAN, NAN, NAN, NAN, NAN, NAN };
        for (size_t i = 0; i < METRICS_MAX && i < size / sizeof(double); i++)
                if (member_of[i] < ELEMENTSOF(members))
                        *(double *) ((char *) row + members[member_of[i]].offset) = values[i];
        return row->id && row->name && row->user && row->state ? 0 : -ENOMEM;
}

int top_rows_read(sd_bus_message *reply, TopRows *ret) {
        size_t member_of[METRICS_MAX];
        TopRows t = {};
        int r;

        r = read_names(reply, member_of);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(sssstad)");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'r', "sssstad")) > 0) {
                r = read_row(reply, member_of, &t);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r < 0) {
                top_rows_done(&t);
                return r;
        }
        *ret = t;
        return 0;
}

static double key_of(const TopRow *r, TopSort by) {
        double v = by == TOP_CPU ? r->cpu : by == TOP_MEMORY ? r->memory : by == TOP_RECEIVE ? r->receive : by == TOP_TRANSMIT ? r->transmit : 0;

        return isnan(v) ? -1 : v;
}

static int compare_rows(const void *a, const void *b, void *userdata) {
        TopSort by = *(const TopSort *) userdata;
        double x = key_of(a, by), y = key_of(b, by);

        return x > y ? -1 : x < y ? 1 : strcmp(((const TopRow *) a)->name, ((const TopRow *) b)->name);
}

void top_rows_sort(TopRows *t, TopSort by) {
        if (t->n > 0)
                qsort_r(t->rows, t->n, sizeof(TopRow), compare_rows, &by);
}

char *top_bytes(char buf[static TOP_NUMBER_MAX], double v) {
        char bytes[FORMAT_BYTES_MAX];

        (void) snprintf(buf, TOP_NUMBER_MAX, "%s", v >= 0 && v < 1e19 ? format_bytes(bytes, (uint64_t) (v + 0.5)) : "-");
        return buf;
}

char *top_percent(char buf[static TOP_NUMBER_MAX], double v) {
        (void) snprintf(buf, TOP_NUMBER_MAX, v >= 0 && v < 1e9 ? "%.1f" : "-", v);
        return buf;
}

/* The name takes what is left. */
int top_line(const TopRow *row, unsigned columns, char **ret) {
        char cpu[TOP_NUMBER_MAX], memory[TOP_NUMBER_MAX], limit[TOP_NUMBER_MAX], receive[TOP_NUMBER_MAX], transmit[TOP_NUMBER_MAX],
                read[TOP_NUMBER_MAX], write[TOP_NUMBER_MAX];
        int width = MAX2((int) columns - 76, 8);
        char *s;

        if (row)
                s = strprintf("%-*.*s %-12.12s %-12.12s %7s %7s %7s %7s %7s %7s", width, width, row->name,
                              isempty(row->user) ? "-" : row->user, row->state, top_percent(cpu, row->cpu),
                              top_bytes(memory, row->memory), top_bytes(limit, row->memory_limit), top_bytes(receive, row->receive),
                              top_bytes(transmit, row->transmit), top_bytes(read, row->read));
        else
                s = strprintf("%-*.*s %-12s %-12s %7s %7s %7s %7s %7s %7s", width, width, "NAME", "USER", "STATE", "CPU%", "MEMORY",
                              "OF", "RECV/s", "SENT/s", "READ/s");
        if (s && columns >= 84) {
                _cleanup_free_ char *t = s;

                s = strprintf("%s %7s", t, row ? top_bytes(write, row->write) : "WRITE/s");
        }
        if (!s)
                return -ENOMEM;
        if (strlen(s) > columns)
                s[columns] = 0;
        *ret = s;
        return 0;
}
