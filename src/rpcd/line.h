/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* JSON-RPC without HTTP, as my_hypervisor speaks it: on a Unix stream socket each line is a request or a batch, and each answer is
 * a line, sent when it is ready. Methods have "compute." before their names. */

#include "rpcd/connections.h"
#include "rpcd/rpcd.h"

typedef struct Line Line;

/* Requests under way of one connection: then it is read no further. */
#define LINE_REQUESTS_MAX 32u

int line_new(Rpcd *d, Connections *connections, Line **ret);

/* Whatever is under way is abandoned. */
Line *line_free(Line *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(Line *, line_free);

/* Takes over a listening Unix stream socket. */
int line_listen(Line *l, int fd);

/* No more connections; those that are there go on. */
void line_stop_listening(Line *l);
