/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/fd-pass.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/fd-util.h"

typedef union Control {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int) * FDS_PASS_MAX)];
} Control;

ssize_t send_some_fds(int fd, const void *p, size_t n, const int fds[], size_t n_fds, int flags) {
        ssize_t k;
        struct iovec iov = { (void *) p, n };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        Control control = {};

        assert(n_fds <= FDS_PASS_MAX);
        if (n_fds > 0) {
                struct cmsghdr *c;

                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        k = sendmsg(fd, &m, flags | MSG_NOSIGNAL);
        return k < 0 ? negative_errno() : k;
}

int send_fds(int fd, const void *p, size_t n, const int fds[], size_t n_fds, int flags) {
        ssize_t k = send_some_fds(fd, p, n, fds, n_fds, flags);

        return k < 0 ? (int) k : 0;
}

/* The fds of a message, whether or not they are wanted: all are open already. */
static size_t take_fds(struct msghdr *m, int fds[static FDS_PASS_MAX]) {
        size_t n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                        memcpy(fds, CMSG_DATA(c), n * sizeof(int));
                }
        return n;
}

ssize_t receive_fds(int fd, void *p, size_t size, int fds[], size_t max, size_t *ret_n_fds, int flags) {
        struct iovec iov = { p, size };
        int all[FDS_PASS_MAX];
        Control control;
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        size_t n_fds;
        ssize_t n;

        *ret_n_fds = 0;
        do
                n = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return negative_errno();
        n_fds = take_fds(&m, all);
        if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || n_fds > max) {
                close_many(all, n_fds);
                return -EMSGSIZE;
        }
        if (n_fds > 0)
                memcpy(fds, all, n_fds * sizeof(int));
        *ret_n_fds = n_fds;
        return n;
}
