/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel's announcements of nftables transactions, reduced to "was it our table, was it somebody else".
 */

#include "network/nft-watch.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

/* One `nft flush ruleset` beside 1,000 TAPs is a few hundred KB of announcements. */
#define RECEIVE_BUFFER (4 << 20)
#define DATAGRAMS_PER_DISPATCH 1024

struct NftWatch {
        int fd;
        const char *table;
        uint32_t self; /* this process as the kernel names it, which is not getpid() in a PID namespace */
        bool touched;  /* in the transaction that is being announced */
};

/* The attribute of that type; its payload's size to *ret_size. */
static const void *find_attribute(const struct nlmsghdr *h, unsigned type, size_t *ret_size) {
        const char *p = (const char *) h + NLMSG_SPACE(sizeof(struct nfgenmsg));
        const char *end = (const char *) h + h->nlmsg_len;

        while (end - p >= NLA_HDRLEN) {
                const struct nlattr *a = (const struct nlattr *) p;

                if (a->nla_len < NLA_HDRLEN || a->nla_len > end - p)
                        return NULL;
                if ((a->nla_type & NLA_TYPE_MASK) == type) {
                        *ret_size = a->nla_len - NLA_HDRLEN;
                        return p + NLA_HDRLEN;
                }
                p += NLA_ALIGN(a->nla_len);
        }
        return NULL;
}

static bool is_nftables(const struct nlmsghdr *h) {
        return NFNL_SUBSYS_ID(h->nlmsg_type) == NFNL_SUBSYS_NFTABLES &&
               h->nlmsg_len >= NLMSG_SPACE(sizeof(struct nfgenmsg));
}

/* In every announcement the attribute 1 is the name of the table (NFTA_TABLE_NAME, NFTA_RULE_TABLE, …). */
static bool is_about_table(const struct nlmsghdr *h, const char *table) {
        const struct nfgenmsg *g = NLMSG_DATA(h);
        const char *name;
        size_t n;

        if (g->nfgen_family != NFPROTO_INET)
                return false;
        name = find_attribute(h, NFTA_TABLE_NAME, &n);
        return name && n == strlen(table) + 1 && memcmp(name, table, n) == 0;
}

static bool is_generation(const struct nlmsghdr *h) {
        return NFNL_MSG_TYPE(h->nlmsg_type) == NFT_MSG_NEWGEN;
}

static uint32_t generation_process(const struct nlmsghdr *h) {
        const void *p;
        uint32_t pid;
        size_t n;

        p = find_attribute(h, NFTA_GEN_PROC_PID, &n);
        if (!p || n != sizeof(pid))
                return 0;
        memcpy(&pid, p, n);
        return ntohl(pid);
}

/* Asks for the generation: the answer names the one who asks, too. The kernel has answered when send()
 * returns. */
static int learn_self(NftWatch *w) {
        struct {
                struct nlmsghdr header;
                struct nfgenmsg general;
        } request = {
                .header.nlmsg_len = sizeof(request),
                .header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
                .header.nlmsg_flags = NLM_F_REQUEST,
                .general.nfgen_family = AF_UNSPEC,
                .general.version = NFNETLINK_V0,
        };
        _Alignas(struct nlmsghdr) char buf[1024];
        const struct nlmsghdr *h = (const struct nlmsghdr *) buf;
        ssize_t n;

        if (send(w->fd, &request, sizeof(request), 0) < 0)
                return negative_errno();
        n = recv(w->fd, buf, sizeof(buf), 0);
        if (n < 0)
                return negative_errno();
        if (!NLMSG_OK(h, (size_t) n))
                return -EBADMSG;
        if (h->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *) NLMSG_DATA(h))->error ?: -EBADMSG;
        w->self = is_nftables(h) && is_generation(h) ? generation_process(h) : 0;
        return w->self > 0 ? 0 : -EBADMSG;
}

int nft_watch_new(const char *table, NftWatch **ret) {
        _cleanup_(nft_watch_freep) NftWatch *w = NULL;
        static const int group = NFNLGRP_NFTABLES, size = RECEIVE_BUFFER;
        int r;

        w = new0(NftWatch, 1);
        if (!w)
                return -ENOMEM;
        w->table = table;
        w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
        if (w->fd < 0)
                return negative_errno();
        if (setsockopt(w->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
                (void) setsockopt(w->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        r = learn_self(w);
        if (r < 0)
                return r;
        if (setsockopt(w->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
                return negative_errno();
        *ret = TAKE_PTR(w);
        return 0;
}

NftWatch *nft_watch_free(NftWatch *w) {
        if (!w)
                return NULL;
        (void) safe_close(w->fd);
        return mfree(w);
}

int nft_watch_fd(const NftWatch *w) {
        return w->fd;
}

static bool process_datagram(NftWatch *w, const char *buf, size_t n) {
        bool changed = false;

        for (const struct nlmsghdr *h = (const struct nlmsghdr *) buf; NLMSG_OK(h, n);
                        h = NLMSG_NEXT(h, n)) {
                if (!is_nftables(h))
                        continue;
                if (!is_generation(h)) {
                        w->touched = w->touched || is_about_table(h, w->table);
                        continue;
                }
                /* It ends a transaction. */
                changed = changed || (w->touched && generation_process(h) != w->self);
                w->touched = false;
        }
        return changed;
}

int nft_watch_dispatch(NftWatch *w) {
        static _Alignas(struct nlmsghdr) char buf[64 << 10];
        bool changed = false;

        for (unsigned i = 0; i < DATAGRAMS_PER_DISPATCH; i++) {
                struct sockaddr_nl from;
                socklen_t length = sizeof(from);
                ssize_t n;

                n = recvfrom(w->fd, buf, sizeof(buf), MSG_TRUNC, (struct sockaddr *) &from, &length);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        if (errno == EAGAIN)
                                break;
                        if (errno != ENOBUFS)
                                return negative_errno();
                        changed = true;
                        w->touched = false;
                        continue;
                }
                if (from.nl_pid != 0) /* not the kernel */
                        continue;
                if ((size_t) n > sizeof(buf))
                        changed = true;
                else
                        changed = process_datagram(w, buf, (size_t) n) || changed;
        }
        return changed;
}
