/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The console history of a VM. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

/* VM.Logs(): bytes 0 is all there is. */
int log_open(sd_bus *bus, const char *path, uint64_t bytes, bool follow, int *ret, sd_bus_error *error);

/* How many bytes the last lines are, at least 1 (0 would be all). */
int log_tail_size(sd_bus *bus, const char *path, uint64_t lines, uint64_t *ret, sd_bus_error *error);

/* Reads to the end, keeping at most the last max bytes; *ret is NUL-terminated. */
int log_read_tail(int fd, size_t max, char **ret, size_t *ret_size);

/* Where the last lines of p[0..n) begin; an unfinished last line counts as one. */
size_t tail_offset(const char *p, size_t n, uint64_t lines);
