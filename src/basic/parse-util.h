/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text to values, strictly: the whole string or an error, nothing clobbered on failure. */

#include "basic/macro.h"

int parse_boolean(const char *s); /* 0, 1 or -EINVAL; 1/yes/y/true/t/on and their opposites */
int parse_uint(const char *s, unsigned max, unsigned *ret);    /* -EINVAL, -ERANGE */
int parse_uint64(const char *s, uint64_t *ret);                /* -EINVAL, -ERANGE */
int parse_double(const char *s, double *ret);                  /* decimal point whatever the locale */

/* "512M", "1.5G", "4096": bytes, K/M/G/T to the base of 1024, "B" optional. -EINVAL, -ERANGE. */
int parse_size(const char *s, uint64_t *ret);

/* "90", "90s", "5min", "1h 30min", "200ms", "infinity": microseconds (UINT64_MAX for infinity). */
int parse_usec(const char *s, uint64_t *ret);
