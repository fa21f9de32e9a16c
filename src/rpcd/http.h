/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* HTTP/1.1 on sockets that systemd made: limits, deadlines, who asks, and then either JSON-RPC or a page (http-routes.h). */

#include "rpcd/connections.h"
#include "rpcd/rpcd.h"

typedef struct Http Http;

int http_new(Rpcd *d, Connections *connections, Http **ret);

/* Whatever is under way is abandoned. */
Http *http_free(Http *h);
DEFINE_TRIVIAL_CLEANUP_FUNC(Http *, http_free);

/* Takes over a listening stream socket, Unix or TCP. */
int http_listen(Http *h, int fd);

/* No more connections; those that are there go on. */
void http_stop_listening(Http *h);
