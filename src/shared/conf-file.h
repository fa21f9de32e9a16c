/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* systemd's configuration file format: [Section], Key=value, # and ; comments, a \ at the end of a line goes on,
 * an empty value resets; NAME.conf, then NAME.conf.d/ANY.conf of /usr/lib, /run and /etc by file name. Our own,
 * because every message must name file, line and key, and libinih tells none of them to its handler. */

#include "basic/macro.h"

/* value is "" for a reset. Returns 0, or -errno with a sentence in *ret_why (allocated): what is wrong with the
 * value; -ENOENT: there is no such key. */
typedef int (*conf_assign_t)(const char *section, const char *key, const char *value, void *userdata, char **ret_why);

/* problem(): one sentence "FILE:LINE: KEY: what, what holds instead". A line with a problem is left out, the rest
 * holds. Returns the number of problems, or -errno when a file that exists could not be read. */
typedef void (*conf_problem_t)(const char *sentence, void *userdata);

int conf_parse(const char *const *roots, const char *name, conf_assign_t assign, conf_problem_t problem, void *userdata);
int conf_parse_buffer(const char *path, char *text, conf_assign_t assign, conf_problem_t problem, void *userdata);
