/* SPDX-License-Identifier: Apache-2.0 */

/* Links, see the header. */

#include "network/link.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

#define DUMP_TRIES 5u

typedef struct Links {
        Link *links;
        size_t n, allocated;
        const char *kind;
} Links;

static void read_link(struct nlmsghdr *h, Link *ret) {
        const struct ifinfomsg *i = nlmsg_data(h);
        struct nlattr *a[IFLA_MAX + 1] = {}, *info[IFLA_INFO_MAX + 1] = {};

        *ret = (Link) { .ifindex = i->ifi_index, .type = i->ifi_type, .up = i->ifi_flags & IFF_UP };
        if (nlmsg_parse(h, sizeof(*i), a, IFLA_MAX, NULL) < 0)
                return;
        if (a[IFLA_IFNAME])
                (void) nla_strlcpy(ret->name, a[IFLA_IFNAME], sizeof(ret->name));
        if (a[IFLA_MTU])
                ret->mtu = nla_get_u32(a[IFLA_MTU]);
        if (a[IFLA_LINKINFO] && nla_parse_nested(info, IFLA_INFO_MAX, a[IFLA_LINKINFO], NULL) >= 0 &&
            info[IFLA_INFO_KIND])
                (void) nla_strlcpy(ret->kind, info[IFLA_INFO_KIND], sizeof(ret->kind));
}

static int on_found(struct nlmsghdr *h, void *userdata) {
        if (h->nlmsg_type == RTM_NEWLINK && (size_t) nlmsg_datalen(h) >= sizeof(struct ifinfomsg))
                read_link(h, userdata);
        return 0;
}

static NetlinkMessage *link_message(int type, int flags, int ifindex) {
        const struct ifinfomsg i = { .ifi_family = AF_UNSPEC, .ifi_index = ifindex };

        return netlink_message_new(type, flags, &i, sizeof(i));
}

int link_find(Netlink *nl, const char *name, Link *ret) {
        _cleanup_netlink_message_ NetlinkMessage *m = NULL;
        Link link = {};
        int r;

        if (isempty(name) || strlen(name) >= IFNAMSIZ)
                return -ENODEV;
        m = link_message(RTM_GETLINK, 0, 0);
        if (!m || nla_put_string(m, IFLA_IFNAME, name) < 0 ||
            nla_put_u32(m, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) < 0)
                return -ENOMEM;
        r = netlink_query(nl, m, on_found, &link);
        if (r < 0)
                return r;
        if (link.ifindex <= 0)
                return -ENODEV;
        *ret = link;
        return 0;
}

static int on_listed(struct nlmsghdr *h, void *userdata) {
        Links *l = userdata;

        if (h->nlmsg_type != RTM_NEWLINK || (size_t) nlmsg_datalen(h) < sizeof(struct ifinfomsg))
                return 0;
        if (!GREEDY_REALLOC(l->links, l->allocated, l->n + 1))
                return -ENOMEM;
        read_link(h, &l->links[l->n]);
        /* The kernel's filter is a hint only. */
        if (streq(l->links[l->n].kind, l->kind))
                l->n++;
        return 0;
}

/* A dump into a list of *n objects; from the beginning when it was interrupted. */
static int dump(Netlink *nl, NetlinkMessage *m, netlink_object_t f, void *userdata, size_t *n) {
        int r = -EAGAIN;

        for (unsigned i = 0; i < DUMP_TRIES && r == -EAGAIN; i++) {
                *n = 0;
                nlmsg_hdr(m)->nlmsg_seq = NL_AUTO_SEQ;
                r = netlink_query(nl, m, f, userdata);
        }
        return r;
}

int link_list(Netlink *nl, const char *kind, Link **ret, size_t *ret_n) {
        _cleanup_netlink_message_ NetlinkMessage *m = link_message(RTM_GETLINK, NLM_F_DUMP, 0);
        _cleanup_free_ Link *links = NULL;
        Links l = { .kind = kind };
        struct nlattr *info;
        int r;

        info = m ? nla_nest_start(m, IFLA_LINKINFO) : NULL;
        if (!info || nla_put_string(m, IFLA_INFO_KIND, kind) < 0)
                return -ENOMEM;
        (void) nla_nest_end(m, info);
        if (nla_put_u32(m, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) < 0)
                return -ENOMEM;
        r = dump(nl, m, on_listed, &l, &l.n);
        links = l.links;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(links);
        *ret_n = l.n;
        return 0;
}

static int put_no_link_local(NetlinkMessage *m) {
        struct nlattr *families, *inet6;

        families = nla_nest_start(m, IFLA_AF_SPEC);
        inet6 = families ? nla_nest_start(m, AF_INET6) : NULL;
        if (!inet6 || nla_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE) < 0)
                return -ENOMEM;
        (void) nla_nest_end(m, inet6);
        (void) nla_nest_end(m, families);
        return 0;
}

int link_change(Netlink *nl, int ifindex, const LinkChange *c) {
        const struct ifinfomsg i = {
                .ifi_family = AF_UNSPEC,
                .ifi_index = ifindex,
                .ifi_flags = c->up ? IFF_UP : 0,
                .ifi_change = c->up ? IFF_UP : 0,
        };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(RTM_NEWLINK, 0, &i, sizeof(i));

        if (!m)
                return -ENOMEM;
        if ((c->mtu > 0 && nla_put_u32(m, IFLA_MTU, c->mtu) < 0) ||
            (c->mac && nla_put(m, IFLA_ADDRESS, 6, c->mac) < 0) ||
            (c->no_link_local && put_no_link_local(m) < 0))
                return -ENOMEM;
        return netlink_run(nl, m);
}

int link_remove(Netlink *nl, int ifindex) {
        _cleanup_netlink_message_ NetlinkMessage *m = link_message(RTM_DELLINK, 0, ifindex);

        return m ? netlink_run(nl, m) : -ENOMEM;
}

static bool is_ipv4_link_local(const Address *a) {
        return a->family == AF_INET && a->bytes[0] == 169 && a->bytes[1] == 254;
}

int link_add_address(Netlink *nl, int ifindex, const Address *a, unsigned prefix) {
        const struct ifaddrmsg i = {
                .ifa_family = (uint8_t) a->family,
                .ifa_prefixlen = (uint8_t) prefix,
                .ifa_flags = IFA_F_NODAD,
                /* Or the kernel takes it as the source of what leaves by links without one. IPv6's it knows itself. */
                .ifa_scope = is_ipv4_link_local(a) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                .ifa_index = (uint32_t) ifindex,
        };
        _cleanup_netlink_message_ NetlinkMessage *m = NULL;
        int size = (int) (address_bits(a) / 8);

        if (prefix > address_bits(a))
                return -EINVAL;
        m = netlink_message_new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof(i));
        if (!m || nla_put(m, IFA_LOCAL, size, a->bytes) < 0 || nla_put(m, IFA_ADDRESS, size, a->bytes) < 0)
                return -ENOMEM;
        return netlink_run(nl, m);
}

int link_set_sysctl(const char *link, const char *family, const char *setting, unsigned value) {
        _cleanup_free_ char *path = strprintf("/proc/sys/net/%s/conf/%s/%s", family, link, setting);
        _cleanup_free_ char *text = strprintf("%u", value), *there = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!path || !text)
                return -ENOMEM;
        r = read_full_file(AT_FDCWD, path, 64, &there, NULL);
        if (r < 0)
                return r;
        if (streq(strstrip(there), text))
                return 0;
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;
        return write_all(fd, text, strlen(text));
}

typedef struct Counters {
        LinkCounters *counters;
        size_t n, allocated;
} Counters;

static int on_counters(struct nlmsghdr *h, void *userdata) {
        const struct if_stats_msg *i = nlmsg_data(h);
        struct rtnl_link_stats64 s;
        Counters *c = userdata;
        struct nlattr *a;

        if (h->nlmsg_type != RTM_NEWSTATS || (size_t) nlmsg_datalen(h) < sizeof(*i))
                return 0;
        a = nlmsg_find_attr(h, sizeof(*i), IFLA_STATS_LINK_64);
        if (!a)
                return 0;
        if (!GREEDY_REALLOC(c->counters, c->allocated, c->n + 1))
                return -ENOMEM;
        /* The kernel's may be shorter or longer than ours; the fields of interest are its oldest. */
        memset(&s, 0, sizeof(s));
        (void) nla_memcpy(&s, a, sizeof(s));
        c->counters[c->n++] = (LinkCounters) {
                .ifindex = (int) i->ifindex,
                .received_bytes = s.rx_bytes,
                .received_packets = s.rx_packets,
                .sent_bytes = s.tx_bytes,
                .sent_packets = s.tx_packets,
                .sent_dropped = s.tx_dropped,
        };
        return 0;
}

static int compare_counters(const void *a, const void *b) {
        const LinkCounters *x = a, *y = b;

        return (x->ifindex > y->ifindex) - (x->ifindex < y->ifindex);
}

int link_counters(Netlink *nl, LinkCounters **ret, size_t *ret_n) {
        const struct if_stats_msg i = { .filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64) };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(RTM_GETSTATS, NLM_F_DUMP, &i, sizeof(i));
        _cleanup_free_ LinkCounters *counters = NULL;
        Counters c = {};
        int r;

        if (!m)
                return -ENOMEM;
        r = dump(nl, m, on_counters, &c, &c.n);
        counters = c.counters;
        if (r < 0)
                return r;
        if (c.n > 0)
                qsort(counters, c.n, sizeof(*counters), compare_counters);
        *ret = TAKE_PTR(counters);
        *ret_n = c.n;
        return 0;
}

int link_counters_of(Netlink *nl, int ifindex, LinkCounters *ret) {
        const struct if_stats_msg i = { .filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64), .ifindex = (uint32_t) ifindex };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(RTM_GETSTATS, 0, &i, sizeof(i));
        _cleanup_free_ LinkCounters *counters = NULL;
        Counters c = {};
        int r;

        r = m ? netlink_query(nl, m, on_counters, &c) : -ENOMEM;
        counters = c.counters;
        if (r < 0)
                return r;
        if (c.n != 1)
                return -ENODEV;
        *ret = counters[0];
        return 0;
}

const LinkCounters *link_counters_find(const LinkCounters *c, size_t n, int ifindex) {
        const LinkCounters key = { .ifindex = ifindex };

        return n > 0 ? bsearch(&key, c, n, sizeof(*c), compare_counters) : NULL;
}
