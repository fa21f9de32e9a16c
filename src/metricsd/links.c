/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/links.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

#define LINKS_MAX 65536u
#define BUFFER_SIZE 65536

int links_open(Links *l) {
        *l = (Links) { .fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE) };
        return l->fd < 0 ? negative_errno() : 0;
}

void links_close(Links *l) {
        l->fd = safe_close(l->fd);
        l->links = mfree(l->links);
        l->n = l->n_allocated = 0;
}

static int request_dump(Links *l) {
        struct {
                struct nlmsghdr header;
                struct if_stats_msg stats;
        } request = {
                .header = {
                        .nlmsg_len = sizeof(request),
                        .nlmsg_type = RTM_GETSTATS,
                        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                },
                .stats.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64),
        };

        return send(l->fd, &request, sizeof(request), 0) < 0 ? negative_errno() : 0;
}

static int add_link(Links *l, const struct nlmsghdr *h) {
        const struct if_stats_msg *stats = NLMSG_DATA(h);
        int n = (int) h->nlmsg_len - (int) NLMSG_LENGTH(sizeof(*stats));

        for (const struct rtattr *a = (const struct rtattr *) (stats + 1); RTA_OK(a, n); a = RTA_NEXT(a, n)) {
                struct rtnl_link_stats64 s = {};

                if (a->rta_type != IFLA_STATS_LINK_64)
                        continue;
                memcpy(&s, RTA_DATA(a), MIN2(sizeof(s), (size_t) RTA_PAYLOAD(a)));
                if (l->n >= LINKS_MAX || !GREEDY_REALLOC(l->links, l->n_allocated, l->n + 1))
                        return -ENOBUFS;
                l->links[l->n++] = (LinkCounters) {
                        .index = (int) stats->ifindex,
                        .rx_bytes = s.rx_bytes,
                        .tx_bytes = s.tx_bytes,
                        .rx_packets = s.rx_packets,
                        .tx_packets = s.tx_packets,
                        .rx_dropped = s.rx_dropped,
                        .tx_dropped = s.tx_dropped,
                };
        }
        return 0;
}

/* One datagram: 1 when it was the last. */
static int read_messages(Links *l, const char *buffer, size_t size) {
        int n = (int) size, r;

        for (const struct nlmsghdr *h = (const struct nlmsghdr *) buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
                switch (h->nlmsg_type) {
                case NLMSG_DONE:
                        return 1;
                case NLMSG_ERROR:
                        r = h->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? 0 : ((const struct nlmsgerr *) NLMSG_DATA(h))->error;
                        return r < 0 ? r : -EPROTO;
                case RTM_NEWSTATS:
                        r = h->nlmsg_len < NLMSG_LENGTH(sizeof(struct if_stats_msg)) ? -EPROTO : add_link(l, h);
                        if (r < 0)
                                return r;
                        break;
                }
        return 0;
}

/* What an earlier dump left is not taken for an answer. */
static void drain(const Links *l, char *buffer) {
        while (recv(l->fd, buffer, BUFFER_SIZE, MSG_DONTWAIT) > 0)
                ;
}

static int compare_links(const void *a, const void *b) {
        const LinkCounters *x = a, *y = b;

        return x->index < y->index ? -1 : x->index > y->index;
}

int links_read(Links *l) {
        static _Alignas(struct nlmsghdr) char buffer[BUFFER_SIZE];
        int r;

        drain(l, buffer);
        l->n = 0;
        r = request_dump(l);
        while (r == 0) {
                ssize_t n = recv(l->fd, buffer, sizeof(buffer), MSG_DONTWAIT);

                r = n < 0 ? negative_errno() : read_messages(l, buffer, (size_t) n);
        }
        if (l->n > 0)
                qsort(l->links, l->n, sizeof(LinkCounters), compare_links);
        return r < 0 ? r : 0;
}

const LinkCounters *links_find(const Links *l, int index) {
        const LinkCounters key = { .index = index };

        return l->n > 0 ? bsearch(&key, l->links, l->n, sizeof(LinkCounters), compare_links) : NULL;
}

int links_index(const Links *l, const char *name) {
        struct ifreq request = {};

        if (strlen(name) >= sizeof(request.ifr_name))
                return -ENODEV;
        memcpy(request.ifr_name, name, strlen(name));
        return ioctl(l->fd, SIOCGIFINDEX, &request) < 0 ? negative_errno() : request.ifr_ifindex;
}
