/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From a connection and its Authorization: header to a caller. Whatever cannot be found out is nobody, who may nothing.
 *
 * On a Unix socket the kernel tells uid and groups of whoever connected (SO_PEERCRED, SO_PEERGROUPS); over TCP on the loopback it is
 * asked whose socket the other end is (sock_diag). root and members of the group hero-compute (AdminGroup=) are administrators, the
 * others have what belongs to the user id of their login name, where they are no accounts of services (SystemUsers=). User 65534 is nobody, too: what a uid is that has no name in this user
 * namespace. With OAuth a bearer token says it instead, whoever brings it. */

#include <systemd/sd-event.h>

#include "rpcd/caller.h"
#include "rpcd/rpc-config.h"

typedef struct Auth Auth;
typedef struct Peer Peer;
typedef struct AuthQuery AuthQuery;

int auth_new(sd_event *event, const RpcConfig *config, Auth **ret);
Auth *auth_free(Auth *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Auth *, auth_free);

/* The other end of a connection, from the moment it is accepted; does not keep fd. Login names are looked up beside the loop. */
int peer_new(Auth *a, int fd, Peer **ret);
Peer *peer_free(Peer *p); /* its queries are not answered any more */
uid_t peer_uid(const Peer *p); /* UID_INVALID: not known */
bool peer_is_administrator(const Peer *p); /* without a token, as far as it has been looked up */

/* error: 0, or -EACCES: the answer is 401, why is a sentence; -EBUSY: too many wait, 503. caller: the callee references it. */
typedef void (*auth_done_t)(int error, const char *why, Caller *caller, void *userdata);

/* 1: *ret_caller is it (a reference for the caller), without an allocation for a peer that was asked about before. 0: done is called
 * later, and never from in here. -EACCES, -EBUSY: as above, *ret_why is a constant sentence. authorization: the header's value or NULL. */
int auth_identify(Auth *a, Peer *p, const char *authorization, auth_done_t done, void *userdata, AuthQuery **ret_query,
                  Caller **ret_caller, const char **ret_why);
void auth_query_cancel(AuthQuery *q);
