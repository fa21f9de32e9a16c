/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The texts of a cgroup's files (Documentation/admin-guide/cgroup-v2.rst) to counters. Pure; text is NUL-terminated. What is not in it
 * stays as it was, so start with counters_unknown(). */

#include "metricsd/metric.h"

void counters_unknown(Counters *c);

void parse_cpu_stat(const char *text, Counters *c);
void parse_memory_current(const char *text, Counters *c);
void parse_memory_peak(const char *text, Counters *c);
void parse_memory_stat(const char *text, Counters *c);
void parse_io_stat(const char *text, Counters *c); /* of all disks together */
void parse_cpu_pressure(const char *text, Counters *c);
void parse_memory_pressure(const char *text, Counters *c);
void parse_io_pressure(const char *text, Counters *c);

/* /proc/PID/statm: what a host without a memory controller knows. */
void parse_statm(const char *text, Counters *c);

/* The path in /proc/PID/cgroup (of the line "0::"), from its beginning to its end, when its last part is unit. 0 or -ENOENT. */
int parse_proc_cgroup(const char *text, const char *unit, char **ret);
