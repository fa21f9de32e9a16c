/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whose TCP socket is it? Asked of the kernel (sock_diag) for a connection of this host to itself. */

#include <sys/socket.h>

#include "basic/macro.h"

/* The uid that made the socket which is bound to local and connected to remote: IPv4 or IPv6, both of one family. Only one
 * that is ESTABLISHED and that somebody has still open counts: a port that was closed may be another's by now, and the
 * kernel's own sockets are uid 0's. -ENOENT: there is no such socket; other errors: the kernel cannot tell. Does not block. */
int socket_owner_get(const struct sockaddr *local, const struct sockaddr *remote, uid_t *ret);
