/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One fd in the one epoll loop. Sources live inside the objects they belong to; whoever frees such an object
 * does so between two rounds of the loop, never inside a handler. */

#include <sys/epoll.h>

#include "basic/macro.h"

typedef struct Source Source;
typedef void (*source_handler_t)(Source *s, uint32_t events);

struct Source {
        int fd;
        source_handler_t handler;
        void *userdata;
};

#define SOURCE_NONE ((Source) { .fd = -EBADF })

/* Watches fd (the caller's) for events, edge-triggered. 0 or -errno. */
int source_add(int epoll_fd, Source *s, int fd, uint32_t events, source_handler_t handler, void *userdata);
/* Stops watching and closes the fd. */
void source_close(int epoll_fd, Source *s);

/* Waits until timeout_usec (USEC_INFINITY: without end) and calls the handlers. 0 or -errno. */
int event_run(int epoll_fd, uint64_t timeout_usec);
