/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The group whose members are administrators, by getent in a child; remembered for a minute. */

#include <systemd/sd-event.h>

#include "basic/macro.h"
#include "shared/login-name.h"

typedef struct AdminGroup AdminGroup;

/* known(): what admin_group_need() began has ended. name: NULL: there is no such group. */
int admin_group_new(sd_event *event, const char *name, void (*known)(void *userdata), void *userdata, AdminGroup **ret);
AdminGroup *admin_group_free(AdminGroup *g);
DEFINE_TRIVIAL_CLEANUP_FUNC(AdminGroup *, admin_group_free);

/* 1: it is known; 0: known() follows; -errno: getent cannot be run. */
int admin_group_need(AdminGroup *g);

/* CLOCK_MONOTONIC; until then what these two say holds. */
uint64_t admin_group_until(const AdminGroup *g) _pure_;

gid_t admin_group_gid(const AdminGroup *g) _pure_;                      /* GID_INVALID: there is no such group */
bool admin_group_has_login(const AdminGroup *g, const Login *l) _pure_; /* as the user database says */

/* A line of getent group, "admins:x:997:alice,bob". *ret_members: "alice,bob", allocated. 0, -EBADMSG or -ENOMEM. */
int admin_group_parse(const char *line, gid_t *ret_gid, char **ret_members);
