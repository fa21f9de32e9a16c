/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* NULL-terminated arrays of strings, as execve() takes them. */

#include <stdarg.h>

#include "basic/macro.h"

char **strv_free(char **l);
DEFINE_TRIVIAL_CLEANUP_FUNC(char **, strv_free);
#define _cleanup_strv_free_ _cleanup_(strv_freep)

size_t strv_length(char *const *l) _pure_;
char **strv_copy(char *const *l);
bool strv_equal(char *const *a, char *const *b) _pure_;
bool strv_contains(char *const *l, const char *s) _pure_;

/* Appends a copy of s, or s itself (consumed, freed also on failure). Returns 0 or -ENOMEM. */
int strv_extend(char ***l, const char *s);
int strv_consume(char ***l, char *s);
int strv_extendf(char ***l, const char *format, ...) _printf_(2, 3);

#define STRV_FOREACH(i, l) for (typeof(*(l)) *i = (l); i && *i; i++)
