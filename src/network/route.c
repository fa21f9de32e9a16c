/* SPDX-License-Identifier: Apache-2.0 */

/* Routes to VMs, see the header. */

#include "network/route.h"

#include <linux/rtnetlink.h>

#include "basic/alloc-util.h"

#define DUMP_TRIES 5u

typedef struct Request {
        int type, flags;
        Subnet to;
        unsigned char route_type; /* RTN_…; RTN_UNSPEC in a removal: any */
        int ifindex;              /* 0: none, in a removal: any */
        uint32_t metric;
} Request;

static unsigned char scope_of(const Request *q) {
        if (q->type == RTM_DELROUTE)
                return RT_SCOPE_NOWHERE; /* any */
        return q->to.address.family == AF_INET && q->ifindex > 0 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
}

static int request(Netlink *nl, const Request *q) {
        const struct rtmsg i = {
                .rtm_family = (uint8_t) q->to.address.family,
                .rtm_dst_len = (uint8_t) q->to.prefix,
                .rtm_table = RT_TABLE_MAIN,
                .rtm_protocol = ROUTE_PROTOCOL,
                .rtm_scope = scope_of(q),
                .rtm_type = q->route_type,
        };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(q->type, q->flags, &i, sizeof(i));

        if (!m || nla_put(m, RTA_DST, (int) (address_bits(&q->to.address) / 8), q->to.address.bytes) < 0 ||
            nla_put_u32(m, RTA_PRIORITY, q->metric) < 0 ||
            (q->ifindex > 0 && nla_put_u32(m, RTA_OIF, (uint32_t) q->ifindex) < 0))
                return -ENOMEM;
        return netlink_run(nl, m);
}

int route_set(Netlink *nl, const Address *to, int ifindex) {
        if (ifindex <= 0)
                return -ENODEV;
        return request(nl, &(Request) {
                .type = RTM_NEWROUTE,
                .flags = NLM_F_CREATE | NLM_F_REPLACE,
                .to = { *to, address_bits(to) },
                .route_type = RTN_UNICAST,
                .ifindex = ifindex,
                .metric = ROUTE_METRIC,
        });
}

/* IPv4 says ESRCH for a route that is not there, IPv6 too; ENODEV when the link went and took the route along. */
static int gone_is_fine(int r) {
        return r == -ESRCH || r == -ENODEV ? 0 : r;
}

int route_remove(Netlink *nl, const Address *to, int ifindex) {
        return gone_is_fine(request(nl, &(Request) {
                .type = RTM_DELROUTE,
                .to = { *to, address_bits(to) },
                .route_type = RTN_UNSPEC,
                .ifindex = ifindex,
                .metric = ROUTE_METRIC,
        }));
}

typedef struct Routes {
        Route *routes;
        size_t n, allocated;
} Routes;

static int on_route(struct nlmsghdr *h, void *userdata) {
        const struct rtmsg *i = nlmsg_data(h);
        struct nlattr *a[RTA_MAX + 1] = {};
        Routes *l = userdata;
        Route route = {};

        /* The kernel's filter is a hint only. */
        if (h->nlmsg_type != RTM_NEWROUTE || nlmsg_parse(h, sizeof(*i), a, RTA_MAX, NULL) < 0 ||
            i->rtm_protocol != ROUTE_PROTOCOL || i->rtm_table != RT_TABLE_MAIN || i->rtm_flags & RTM_F_CLONED)
                return 0;
        route.to.address.family = i->rtm_family;
        route.to.prefix = i->rtm_dst_len;
        if (a[RTA_DST])
                (void) nla_memcpy(route.to.address.bytes, a[RTA_DST], (int) (address_bits(&route.to.address) / 8));
        if (a[RTA_OIF] && i->rtm_type == RTN_UNICAST) /* IPv6 has "unreachable" on lo */
                route.ifindex = (int) nla_get_u32(a[RTA_OIF]);
        if (!GREEDY_REALLOC(l->routes, l->allocated, l->n + 1))
                return -ENOMEM;
        l->routes[l->n++] = route;
        return 0;
}

static int dump_family(Netlink *nl, int family, Routes *l) {
        const struct rtmsg i = { .rtm_family = (uint8_t) family, .rtm_protocol = ROUTE_PROTOCOL };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(RTM_GETROUTE, NLM_F_DUMP, &i, sizeof(i));

        return m ? netlink_query(nl, m, on_route, l) : -ENOMEM;
}

int route_list(Netlink *nl, Route **ret, size_t *ret_n) {
        _cleanup_free_ Route *routes = NULL;
        Routes l = {};
        int r = -EAGAIN;

        for (unsigned i = 0; i < DUMP_TRIES && r == -EAGAIN; i++) {
                l.n = 0;
                r = dump_family(nl, AF_INET, &l);
                if (r >= 0)
                        r = dump_family(nl, AF_INET6, &l);
        }
        routes = l.routes;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(routes);
        *ret_n = l.n;
        return 0;
}

/* 1, 0 or -errno. */
static int cover_is_ours(Netlink *nl, const Subnet *s) {
        _cleanup_free_ Route *routes = NULL;
        size_t n;
        int r;

        r = route_list(nl, &routes, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                if (routes[i].ifindex == 0 && subnet_equal(&routes[i].to, s))
                        return 1;
        return 0;
}

int route_cover(Netlink *nl, const Subnet *s) {
        int r, there;

        r = request(nl, &(Request) {
                .type = RTM_NEWROUTE,
                .flags = NLM_F_CREATE | NLM_F_EXCL,
                .to = *s,
                .route_type = RTN_UNREACHABLE,
                .metric = ROUTE_METRIC_COVER,
        });
        if (r != -EEXIST)
                return r;
        there = cover_is_ours(nl, s);
        return there < 0 ? there : there > 0 ? 0 : -EEXIST;
}

int route_uncover(Netlink *nl, const Subnet *s) {
        return gone_is_fine(request(nl, &(Request) {
                .type = RTM_DELROUTE,
                .to = *s,
                .route_type = RTN_UNREACHABLE,
                .metric = ROUTE_METRIC_COVER,
        }));
}
