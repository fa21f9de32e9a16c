/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/event.h"

#include <limits.h>

#include "basic/fd-util.h"
#include "basic/time-util.h"

int source_add(int epoll_fd, Source *s, int fd, uint32_t events, source_handler_t handler, void *userdata) {
        struct epoll_event e = { .events = events | EPOLLET, .data.ptr = s };

        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
                return negative_errno();

        *s = (Source) { .fd = fd, .handler = handler, .userdata = userdata };
        return 0;
}

void source_close(int epoll_fd, Source *s) {
        if (s->fd >= 0)
                (void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        safe_close(s->fd);
        *s = SOURCE_NONE;
}

int event_run(int epoll_fd, uint64_t timeout_usec) {
        struct epoll_event events[32];
        int n, timeout = -1;

        if (timeout_usec != USEC_INFINITY) {
                uint64_t ms = timeout_usec / USEC_PER_MSEC + (timeout_usec % USEC_PER_MSEC > 0);

                timeout = ms > INT_MAX ? INT_MAX : (int) ms;
        }

        n = epoll_wait(epoll_fd, events, ELEMENTSOF(events), timeout);
        if (n < 0)
                return errno == EINTR ? 0 : negative_errno();

        for (int i = 0; i < n; i++) {
                Source *s = events[i].data.ptr;

                /* A handler before this one may have closed it. */
                if (s->fd >= 0)
                        s->handler(s, events[i].events);
        }
        return 0;
}
