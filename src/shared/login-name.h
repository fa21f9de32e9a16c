/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whose uid is it? The login name and primary group of a user, by getent in a child, for NSS may go to the network; remembered for
 * a minute, also that there is none. One child for a uid, however many wait for it. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct LoginNames LoginNames;

typedef struct Login {
        uid_t uid;
        gid_t gid;      /* GID_INVALID: not known */
        char *name;     /* NULL: it has none */
        uint64_t until; /* CLOCK_MONOTONIC */
} Login;

#define GID_INVALID ((gid_t) -1)

/* Called from the loop when what login_names_look_up() began has ended; login_names_find() has it now. */
typedef void (*login_known_t)(uid_t uid, void *userdata);

int login_names_new(sd_event *event, login_known_t known, void *userdata, LoginNames **ret);
LoginNames *login_names_free(LoginNames *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(LoginNames *, login_names_free);

/* What is remembered; NULL: nothing. Valid until the loop runs. */
const Login *login_names_find(const LoginNames *l, uid_t uid);

bool login_names_is_under_way(const LoginNames *l, uid_t uid);

/* Begins it, or joins the one that is under way. 0, -EBUSY: too many are, or -errno: getent cannot be run. */
int login_names_look_up(LoginNames *l, uid_t uid);

/* A line of getent passwd, "alice:x:1000:1000:…". *ret_name is NULL when it is none; allocated. 0 or -ENOMEM. */
int login_name_parse(const char *line, char **ret_name, gid_t *ret_gid);
