/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is measured, in two tables: counters as the kernel has them, one for each series of Prometheus; and metrics, which are what a
 * point of history has: rates of counters, and levels. Rows of the tables may be added, their names never change. */

#include "basic/macro.h"

typedef enum Counter {
        COUNTER_CPU,                /* µs */
        COUNTER_CPU_USER,
        COUNTER_CPU_SYSTEM,
        COUNTER_CPU_THROTTLED,
        COUNTER_MEMORY,             /* bytes, a level */
        COUNTER_MEMORY_PEAK,
        COUNTER_MEMORY_ANON,
        COUNTER_MEMORY_FILE,
        COUNTER_MEMORY_SHMEM,
        COUNTER_DISK_READ,          /* bytes */
        COUNTER_DISK_WRITE,
        COUNTER_DISK_READS,
        COUNTER_DISK_WRITES,
        COUNTER_CPU_PRESSURE,       /* µs in which some task waited */
        COUNTER_MEMORY_PRESSURE,
        COUNTER_IO_PRESSURE,
        COUNTER_RECEIVE,            /* bytes; as the VM sees it, which is what the host sends into the TAP */
        COUNTER_TRANSMIT,
        COUNTER_RECEIVE_PACKETS,
        COUNTER_TRANSMIT_PACKETS,
        COUNTER_RECEIVE_DROPS,
        COUNTER_TRANSMIT_DROPS,
        _COUNTER_MAX,
} Counter;

#define VALUE_UNKNOWN UINT64_MAX

typedef struct Counters {
        uint64_t v[_COUNTER_MAX];
} Counters;

typedef enum CounterType {
        COUNTER_LEVEL,
        COUNTER_TOTAL,
        COUNTER_TOTAL_USEC, /* told in seconds */
} CounterType;

typedef struct CounterInfo {
        const char *name; /* of the series */
        CounterType type;
        const char *help;
} CounterInfo;

extern const CounterInfo counter_info[_COUNTER_MAX];

typedef enum Metric {
        METRIC_CPU,
        METRIC_MEMORY,
        METRIC_MEMORY_MAX,
        METRIC_RECEIVE,
        METRIC_TRANSMIT,
        METRIC_RECEIVE_PACKETS,
        METRIC_TRANSMIT_PACKETS,
        METRIC_DISK_READ,
        METRIC_DISK_WRITE,
        METRIC_DISK_READS,
        METRIC_DISK_WRITES,
        METRIC_CPU_PRESSURE,
        METRIC_MEMORY_PRESSURE,
        METRIC_IO_PRESSURE,
        _METRIC_MAX,
} Metric;

typedef enum MetricType {
        METRIC_RATE,    /* of the counter, a second */
        METRIC_PERCENT, /* of the counter in µs: 100 is all the time */
        METRIC_MEAN,
        METRIC_MAXIMUM,
} MetricType;

typedef struct MetricInfo {
        const char *name;   /* on the bus and in JSON */
        const char *column; /* in the database */
        MetricType type;
        Counter counter;
} MetricInfo;

extern const MetricInfo metric_info[_METRIC_MAX];

/* What one VM did in a while: what its counters grew by, and the levels at its end. */
typedef struct Usage {
        uint64_t span; /* µs that it covers */
        uint64_t v[_METRIC_MAX];
} Usage;

/* From one reading to the next. A counter that went back has been begun anew, by whom we do not know: it did not grow. */
void usage_between(const Counters *before, const Counters *after, uint64_t span, Usage *ret);

/* As a number of its unit; NAN: unknown. */
double usage_value(const Usage *u, Metric m);

/* Adds what comes after it, of a span > 0. */
void usage_add(Usage *u, const Usage *next);
