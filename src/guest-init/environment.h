/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Lists of NAME=VALUE, and what every process of the guest finds in its own. */

#include "guest-init/user.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* The value, or NULL. Works in a forked child (no allocation). */
const char *environment_get(char *const *environment, const char *name);

/* base, then changes over it by name, then PATH, HOME, USER, LOGNAME, SHELL and (if term is not NULL) TERM where
 * none of both says anything. Entries without "=" are dropped. 0 or -ENOMEM. */
int environment_build(char *const *base, char *const *changes, const User *user, const char *term, char ***ret);
