/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/socket-owner.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "rpcd/caller.h"

#define LOOPBACK 1 /* the index of lo in every network namespace: sockets bound to it are found, too */

typedef struct Question {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
} Question;

static void set_end(const struct sockaddr *a, __be16 *port, __be32 address[4]) {
        if (a->sa_family == AF_INET) {
                const struct sockaddr_in *v4 = (const struct sockaddr_in *) a;

                *port = v4->sin_port;
                memcpy(address, &v4->sin_addr, sizeof(v4->sin_addr));
        } else {
                const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) a;

                *port = v6->sin6_port;
                memcpy(address, &v6->sin6_addr, sizeof(v6->sin6_addr));
        }
}

/* The kernel finds listening and dying sockets as well, whatever states are asked for. */
static int read_answer(const struct nlmsghdr *h, size_t size, const Question *q, uid_t *ret) {
        const struct inet_diag_msg *m;

        if (size < sizeof(*h) || h->nlmsg_len > size || h->nlmsg_seq != q->header.nlmsg_seq)
                return -EBADMSG;
        if (h->nlmsg_type == NLMSG_ERROR && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
                const struct nlmsgerr *e = NLMSG_DATA(h);

                return e->error < 0 ? e->error : -EBADMSG;
        }
        if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
                return -EBADMSG;
        m = NLMSG_DATA(h);
        if (m->idiag_state != TCP_ESTABLISHED || m->idiag_inode == 0 || m->idiag_uid == UID_INVALID ||
            m->id.idiag_sport != q->request.id.idiag_sport || m->id.idiag_dport != q->request.id.idiag_dport)
                return -ENOENT;
        *ret = m->idiag_uid;
        return 0;
}

int socket_owner_get(const struct sockaddr *local, const struct sockaddr *remote, uid_t *ret) {
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        union {
                struct nlmsghdr header;
                char buffer[4096];
        } answer;
        Question q = {
                .header = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 1 },
                .request = { .sdiag_family = (uint8_t) local->sa_family, .sdiag_protocol = IPPROTO_TCP,
                             .idiag_states = 1u << TCP_ESTABLISHED,
                             .id = { .idiag_if = LOOPBACK, .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } },
        };
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        set_end(local, &q.request.id.idiag_sport, q.request.id.idiag_src);
        set_end(remote, &q.request.id.idiag_dport, q.request.id.idiag_dst);
        fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
        if (fd < 0)
                return negative_errno();
        /* Connected, it takes nothing from anybody else. The kernel has answered when send() returns. */
        if (connect(fd, (const struct sockaddr *) &kernel, sizeof(kernel)) < 0 || send(fd, &q, sizeof(q), 0) < 0)
                return negative_errno();
        n = recv(fd, &answer, sizeof(answer), 0);
        return n < 0 ? negative_errno() : read_answer(&answer.header, (size_t) n, &q, ret);
}
