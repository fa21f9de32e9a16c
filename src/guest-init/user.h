/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Users and groups of the image, from its own /etc/passwd and /etc/group. No NSS: PID 1 is static and does not
 * load the image's code. */

#include "basic/macro.h"

#define USER_GROUPS_MAX 256u

typedef struct User {
        char *name;   /* NULL for a number that /etc/passwd does not know */
        uid_t uid;
        gid_t gid;
        char *home;   /* never NULL */
        char *shell;  /* never NULL */
        gid_t *groups;
        size_t n_groups;
} User;

void user_done(User *u);

/* spec: NAME or UID, optionally ":" GROUP or GID; NULL or "" is root. A number needs no entry. With a group
 * given there are no supplementary groups. passwd, group: the files' text, either may be NULL (no such file).
 * -ESRCH: no such user; -ENOMSG: no such group. Pure. */
int user_parse(const char *passwd, const char *group, const char *spec, User *ret);

/* The same with the files of the present root directory. */
int user_lookup(const char *spec, User *ret);
