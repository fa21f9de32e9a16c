/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/table.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/json-text.h"
#include "ctl/options.h"
#include "ctl/sanitize.h"

struct Table {
        struct libscols_table *scols;
        const Column *columns;
        size_t n_columns;
};

Table *table_free(Table *t) {
        if (!t)
                return NULL;
        scols_unref_table(t->scols);
        return mfree(t);
}

static int json_type(ColumnType t) {
        switch (t) {
        case COLUMN_NUMBER:
        case COLUMN_SIGNED:
        case COLUMN_BYTES:
        case COLUMN_TIMESPAN:
        case COLUMN_LIMIT:
        case COLUMN_RATE:
        case COLUMN_PERCENT:
                return SCOLS_JSON_NUMBER;
        case COLUMN_BOOLEAN:
                return SCOLS_JSON_BOOLEAN;
        default:
                return SCOLS_JSON_STRING;
        }
}

static int add_column(Table *t, const Column *c) {
        bool json = arg_json != JSON_OFF;
        struct libscols_column *column;
        int flags = 0;

        if (!json && json_type(c->type) == SCOLS_JSON_NUMBER)
                flags |= SCOLS_FL_RIGHT;
        if (!json && (c->flags & COLUMN_WRAP))
                flags |= SCOLS_FL_WRAP;
        if (c->flags & (json ? COLUMN_TEXT_ONLY : COLUMN_JSON_ONLY))
                flags |= SCOLS_FL_HIDDEN;
        column = scols_table_new_column(t->scols, json ? c->key : c->title, 0, flags);
        if (!column)
                return -ENOMEM;
        return json ? scols_column_set_json_type(column, json_type(c->type)) : 0;
}

int table_new(const Column *columns, size_t n, Table **ret) {
        _cleanup_table_ Table *t = NULL;
        int r;

        t = new0(Table, 1);
        if (!t)
                return -ENOMEM;
        t->columns = columns;
        t->n_columns = n;
        t->scols = scols_new_table();
        if (!t->scols)
                return -ENOMEM;
        scols_table_enable_noheadings(t->scols, !arg_legend);
        if (!isatty(STDOUT_FILENO)) { /* a pipe gets every line whole */
                scols_table_set_termforce(t->scols, SCOLS_TERMFORCE_NEVER);
                scols_table_set_termwidth(t->scols, 0);
        }
        if (arg_json != JSON_OFF) {
                scols_table_enable_json(t->scols, 1);
                r = scols_table_set_name(t->scols, "rows");
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < n; i++) {
                r = add_column(t, columns + i);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(t);
        return 0;
}

char *format_local_time(char buf[static LOCAL_TIME_MAX], uint64_t realtime_usec) {
        time_t s = (time_t) (realtime_usec / USEC_PER_SEC);
        struct tm tm;

        if (realtime_usec == 0 || !localtime_r(&s, &tm) ||
            strftime(buf, LOCAL_TIME_MAX, "%Y-%m-%d %H:%M:%S %Z", &tm) == 0)
                buf[0] = 0;
        return buf;
}

/* The text of one cell; NULL in *ret is an empty one. */
static int cell_text(const Column *c, va_list *ap, char **ret) {
        bool json = arg_json != JSON_OFF;
        char span[FORMAT_TIMESPAN_MAX], bytes[FORMAT_BYTES_MAX], local[LOCAL_TIME_MAX], utc[FORMAT_TIMESTAMP_MAX];
        const char *s = NULL;
        uint64_t v;
        double d;

        switch (c->type) {
        case COLUMN_STRING:
                s = va_arg(*ap, const char *);
                *ret = isempty(s) ? NULL : sanitize_line(s);
                return isempty(s) || *ret ? 0 : -ENOMEM;
        case COLUMN_BOOLEAN:
                s = va_arg(*ap, int) ? (json ? "1" : "yes") : (json ? "0" : "no");
                break;
        case COLUMN_SIGNED:
                *ret = strprintf("%" PRIi64, va_arg(*ap, int64_t));
                return *ret ? 0 : -ENOMEM;
        case COLUMN_PERCENT:
                d = va_arg(*ap, double);
                *ret = d >= 0 && d < 1e9 ? strprintf("%" PRIu64 ".%u", (uint64_t) (d * 10 + 0.5) / 10, (unsigned) ((uint64_t) (d * 10 + 0.5) % 10))
                                         : NULL;
                return 0;
        default:
                v = va_arg(*ap, uint64_t);
                if ((c->type == COLUMN_LIMIT || c->type == COLUMN_RATE) && v == UINT64_MAX)
                        s = "";
                else if (c->type == COLUMN_TIME)
                        s = json ? format_timestamp(utc, v) : format_local_time(local, v);
                else if ((c->type == COLUMN_BYTES || c->type == COLUMN_RATE) && !json)
                        s = format_bytes(bytes, v);
                else if (c->type == COLUMN_TIMESPAN && !json)
                        s = format_timespan(span, v);
                else {
                        *ret = strprintf("%" PRIu64, v);
                        return *ret ? 0 : -ENOMEM;
                }
        }
        *ret = isempty(s) ? NULL : strdup(s);
        return isempty(s) || *ret ? 0 : -ENOMEM;
}

int table_add(Table *t, ...) {
        struct libscols_line *line;
        va_list ap;
        int r = 0;

        line = scols_table_new_line(t->scols, NULL);
        if (!line)
                return -ENOMEM;
        va_start(ap, t);
        for (size_t i = 0; i < t->n_columns && r >= 0; i++) {
                char *s = NULL;

                r = cell_text(t->columns + i, &ap, &s);
                if (r >= 0 && !s && arg_json == JSON_OFF)
                        s = strdup("-");
                if (r >= 0 && s) {
                        r = scols_line_refer_data(line, i, s);
                        if (r < 0)
                                free(s);
                }
        }
        va_end(ap);
        return r;
}

size_t table_rows(const Table *t) {
        return scols_table_get_nlines(t->scols);
}

/* libsmartcols wraps the rows in an object of the table's name; what is wanted is the array, or its element. */
static int print_json(Table *t, JsonShape shape, JsonMode mode) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (table_rows(t) == 0) {
                if (shape == JSON_ARRAY)
                        puts("[]");
                return 0;
        }
        r = scols_print_table_to_string(t->scols, &text);
        if (r < 0)
                return r;
        return json_text_print(stdout, text, shape, mode == JSON_PRETTY);
}

int table_print(Table *t, const char *things) {
        size_t n = table_rows(t);
        int r;

        if (arg_json != JSON_OFF)
                return print_json(t, JSON_ARRAY, arg_json);
        if (n > 0) {
                r = scols_print_table(t->scols);
                if (r < 0)
                        return r;
        }
        if (arg_legend && things)
                printf("%s%zu %.*s listed.\n", n > 0 ? "\n" : "", n, (int) (strlen(things) - (n == 1)), things);
        return 0;
}

int table_print_object(Table *t) {
        return print_json(t, JSON_OBJECT, arg_json);
}

int table_print_lines(Table *t) {
        return print_json(t, JSON_OBJECT, JSON_SHORT);
}
