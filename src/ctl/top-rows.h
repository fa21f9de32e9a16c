/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What heroctl top shows: the answer of Latest() of hero-metricsd, sorted, and as lines of text. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct TopRow {
        char *id, *name, *user, *state;
        double cpu, memory, memory_limit, receive, transmit, read, write; /* NAN: not known */
} TopRow;

typedef struct TopRows {
        TopRow *rows;
        size_t n, n_allocated;
} TopRows;

typedef enum TopSort {
        TOP_CPU,
        TOP_MEMORY,
        TOP_RECEIVE,
        TOP_TRANSMIT,
        TOP_NAME,
        _TOP_SORT_MAX,
        _TOP_SORT_INVALID = -EINVAL,
} TopSort;

const char *top_sort_to_string(TopSort s);
TopSort top_sort_from_string(const char *s);

int top_rows_read(sd_bus_message *reply, TopRows *ret);
void top_rows_done(TopRows *t);

/* The greatest first, by name where they are the same; what is not known last. */
void top_rows_sort(TopRows *t, TopSort by);

/* "1.2M", "-"; for people. */
#define TOP_NUMBER_MAX 24
char *top_bytes(char buf[static TOP_NUMBER_MAX], double v);
char *top_percent(char buf[static TOP_NUMBER_MAX], double v);

/* At most columns wide, without a newline; row NULL: the headings. */
int top_line(const TopRow *row, unsigned columns, char **ret);
