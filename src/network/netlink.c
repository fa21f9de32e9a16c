/* SPDX-License-Identifier: Apache-2.0 */

/* One netlink socket, see the header. libnl's own error codes are fewer than errno's, so the error is taken
 * from the answer itself. */

#include "network/netlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "basic/alloc-util.h"

/* Dumps come in pieces of at most this; an answer to anything else is far smaller. */
#define RECEIVE_SIZE (32u << 10)
#define TIMEOUT_SEC 5
#define TEXT_MAX 128u

struct Netlink {
        struct nl_sock *socket;
        struct nl_cb *callbacks;
        /* Of the request under way. */
        uint32_t sequence;
        netlink_object_t f;
        void *userdata;
        int result; /* the kernel's */
        int f_result;
        bool done, interrupted;
        char text[TEXT_MAX];
};

/* What is left of an earlier request that was given up is none of ours. */
static int on_sequence(struct nl_msg *m, void *userdata) {
        Netlink *nl = userdata;

        return nlmsg_hdr(m)->nlmsg_seq == nl->sequence ? NL_OK : NL_SKIP;
}

static int on_valid(struct nl_msg *m, void *userdata) {
        Netlink *nl = userdata;

        if (nlmsg_hdr(m)->nlmsg_flags & NLM_F_DUMP_INTR)
                nl->interrupted = true;
        if (nl->f && nl->f_result >= 0)
                nl->f_result = nl->f(nlmsg_hdr(m), nl->userdata);
        return NL_OK;
}

static int on_interrupted(struct nl_msg *m, void *userdata) {
        Netlink *nl = userdata;

        nl->interrupted = true;
        return NL_OK;
}

static int on_end(struct nl_msg *m, void *userdata) {
        Netlink *nl = userdata;

        nl->done = true;
        return NL_STOP;
}

/* The end of a dump carries an error of its own. */
static int on_finish(struct nl_msg *m, void *userdata) {
        Netlink *nl = userdata;
        const struct nlmsghdr *h = nlmsg_hdr(m);

        if (h->nlmsg_flags & NLM_F_DUMP_INTR)
                nl->interrupted = true;
        if ((size_t) nlmsg_datalen(h) >= sizeof(int))
                nl->result = MIN2(*(const int *) nlmsg_data(h), 0);
        return on_end(m, userdata);
}

static void keep_text(Netlink *nl, struct nlmsgerr *e) {
        struct nlmsghdr *h = (struct nlmsghdr *) (void *) ((char *) e - NLMSG_HDRLEN);
        struct nlattr *text;
        size_t skip = sizeof(*e);

        if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
                return;
        if (!(h->nlmsg_flags & NLM_F_CAPPED))
                skip += NLMSG_ALIGN(e->msg.nlmsg_len) - NLMSG_HDRLEN;
        text = nlmsg_find_attr(h, (int) skip, NLMSGERR_ATTR_MSG);
        if (text)
                (void) nla_strlcpy(nl->text, text, sizeof(nl->text));
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *userdata) {
        Netlink *nl = userdata;
        const struct nlmsghdr *h = (const struct nlmsghdr *) (const void *) ((const char *) e - NLMSG_HDRLEN);

        if (h->nlmsg_seq != nl->sequence)
                return NL_SKIP;
        nl->result = e->error < 0 ? e->error : -EIO;
        nl->done = true;
        keep_text(nl, e);
        return NL_STOP;
}

Netlink *netlink_close(Netlink *nl) {
        if (!nl)
                return NULL;
        nl_cb_put(nl->callbacks);
        nl_socket_free(nl->socket);
        free(nl);
        return NULL;
}

static int set_callbacks(Netlink *nl) {
        nl->callbacks = nl_cb_alloc(NL_CB_DEFAULT);
        if (!nl->callbacks)
                return -ENOMEM;
        nl_cb_set(nl->callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_sequence, nl);
        nl_cb_set(nl->callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_valid, nl);
        nl_cb_set(nl->callbacks, NL_CB_DUMP_INTR, NL_CB_CUSTOM, on_interrupted, nl);
        nl_cb_set(nl->callbacks, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, nl);
        nl_cb_set(nl->callbacks, NL_CB_ACK, NL_CB_CUSTOM, on_end, nl);
        nl_cb_err(nl->callbacks, NL_CB_CUSTOM, on_error, nl);
        return 0;
}

static int set_options(struct nl_sock *s) {
        static const int options[] = { NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK };
        const struct timeval timeout = { .tv_sec = TIMEOUT_SEC };
        int fd = nl_socket_get_fd(s), one = 1;

        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (setsockopt(fd, SOL_NETLINK, options[i], &one, sizeof(one)) < 0)
                        return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
                return -errno;
        nl_socket_disable_msg_peek(s);
        return nl_socket_set_msg_buf_size(s, RECEIVE_SIZE) < 0 ? -ENOMEM : 0;
}

static int open_protocol(int protocol, Netlink **ret) {
        _cleanup_(netlink_closep) Netlink *nl = new0(Netlink, 1);
        int r;

        if (!nl)
                return -ENOMEM;
        nl->socket = nl_socket_alloc();
        if (!nl->socket)
                return -ENOMEM;
        r = set_callbacks(nl);
        if (r < 0)
                return r;
        errno = 0;
        if (nl_connect(nl->socket, protocol) < 0)
                return negative_errno();
        r = set_options(nl->socket);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(nl);
        return 0;
}

int netlink_open(Netlink **ret) {
        return open_protocol(NETLINK_ROUTE, ret);
}

int netlink_open_netfilter(Netlink **ret) {
        return open_protocol(NETLINK_NETFILTER, ret);
}

NetlinkMessage *netlink_message_new(int type, int flags, const void *fixed, size_t size) {
        NetlinkMessage *m = nlmsg_alloc_simple(type, flags);

        if (m && nlmsg_append(m, (void *) fixed, size, NLMSG_ALIGNTO) < 0)
                m = netlink_message_free(m);
        return m;
}

NetlinkMessage *netlink_message_free(NetlinkMessage *m) {
        if (m)
                nlmsg_free(m);
        return NULL;
}

static int send_message(Netlink *nl, NetlinkMessage *m) {
        int r;

        nl_complete_msg(nl->socket, m);
        nl->sequence = nlmsg_hdr(m)->nlmsg_seq;
        errno = 0;
        r = nl_send(nl->socket, m);
        return r < 0 ? negative_errno() : 0;
}

/* What went wrong with receiving itself. */
static int receive_error(int nl_error) {
        switch (-nl_error) {
        case NLE_AGAIN:
                return -ETIMEDOUT;
        case NLE_NOMEM:
                return -ENOBUFS;
        default:
                return -EIO;
        }
}

int netlink_query(Netlink *nl, NetlinkMessage *m, netlink_object_t f, void *userdata) {
        int r;

        nl->f = f;
        nl->userdata = userdata;
        nl->result = nl->f_result = 0;
        nl->done = nl->interrupted = false;
        nl->text[0] = 0;
        r = send_message(nl, m);
        if (r < 0)
                return r;
        while (!nl->done) {
                r = nl_recvmsgs(nl->socket, nl->callbacks);
                if (r < 0 && !nl->done)
                        return receive_error(r);
        }
        if (nl->result < 0)
                return nl->result;
        if (nl->f_result < 0)
                return nl->f_result;
        return nl->interrupted ? -EAGAIN : 0;
}

int netlink_run(Netlink *nl, NetlinkMessage *m) {
        return netlink_query(nl, m, NULL, NULL);
}

const char *netlink_error_text(const Netlink *nl) {
        return nl->text;
}
