/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* rpc.conf(5), and the environment variables of hero_compute_manager, which the file goes over. Read at the start. What cannot be
 * read counts as the stricter thing: a switch is on (SystemUsers= off), a name is NULL and fits nobody. */

#include "basic/macro.h"
#include "shared/conf-file.h"

typedef struct RpcConfig {
        /* [Access] */
        char *admin_group;       /* "hero-compute"; NULL: root alone */
        int system_users;        /* whether accounts of services may have a VM: no */

        /* [OAuth] */
        int oauth_enable;        /* OAUTH_ENABLED */
        int oauth_require;       /* OAUTH_REQUIRE_AUTH; then oauth_enable is, too */
        char *jwks_url;          /* OAUTH_JWKS_URL */
        char *issuer, *audience; /* OAUTH_ISSUER, OAUTH_AUDIENCE */
        char *admin_claim;       /* "scope", "role": where… */
        char *admin_value;       /* … this word makes an administrator */

        /* [Limits] */
        unsigned connections_max;       /* 10240 */
        uint64_t request_max;           /* bytes of a body: 1 MiB */
        uint64_t request_timeout;       /* for a request to arrive as a whole: 10 s */
        uint64_t idle_timeout;          /* a connection without a request: 2 min */
} RpcConfig;

int rpc_config_defaults(RpcConfig *c);
void rpc_config_done(RpcConfig *c);

/* The environment first, then files and drop-ins of the roots (NULL: /etc, /run, /usr/lib), which go over it. problem(): a
 * sentence each, also for variables of the seed that mean nothing here (REDIS_URL and others) and for unknown ones that begin
 * with HERO_COMPUTE_, COMPUTE_ or OAUTH_. Returns their number or -errno. */
int rpc_config_load(RpcConfig *c, const char *const *roots, char *const *environment, conf_problem_t problem);
