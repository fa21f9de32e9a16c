/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What verbs print: rows of typed columns, by libsmartcols, as a table for people or as JSON (an array of
 * objects, or one object), depending on --json. */

#include <stdarg.h>

#include "basic/macro.h"

typedef enum ColumnType {
        COLUMN_STRING,   /* const char *, NULL or "" is "-" and null */
        COLUMN_NUMBER,   /* uint64_t */
        COLUMN_SIGNED,   /* int64_t */
        COLUMN_BOOLEAN,  /* int */
        COLUMN_BYTES,    /* uint64_t; 512M for people */
        COLUMN_TIME,     /* uint64_t, µs since the epoch; local time for people, RFC 3339 in JSON, 0: null */
        COLUMN_TIMESPAN, /* uint64_t, µs */
        COLUMN_LIMIT,    /* uint64_t, of whatever; UINT64_MAX is "-" and null */
        COLUMN_RATE,     /* uint64_t, bytes; 512M for people, UINT64_MAX as above */
        COLUMN_PERCENT,  /* double; NAN is "-" and null */
} ColumnType;

#define COLUMN_WRAP 1u      /* long text may be broken into lines */
#define COLUMN_JSON_ONLY 2u
#define COLUMN_TEXT_ONLY 4u

typedef struct Column {
        const char *title;
        const char *key; /* in JSON */
        ColumnType type;
        unsigned flags;
} Column;

typedef struct Table Table;

int table_new(const Column *columns, size_t n, Table **ret);
Table *table_free(Table *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Table *, table_free);
#define _cleanup_table_ _cleanup_(table_freep)

/* Appends a row; one argument per column, of the type that its ColumnType names. */
int table_add(Table *t, ...);
size_t table_rows(const Table *t);

/* Prints the table and, unless --no-legend, "N things listed." (things in a plural with -s; NULL: no
 * such line). */
int table_print(Table *t, const char *things);

/* Prints the only row as one JSON object; for verbs that lay the text out themselves. */
int table_print_object(Table *t);

/* One JSON object per row, each in a line of its own. */
int table_print_lines(Table *t);

/* "2026-11-21 12:00:00 CET" in local time for people. */
#define LOCAL_TIME_MAX 64
char *format_local_time(char buf[static LOCAL_TIME_MAX], uint64_t realtime_usec);
