/* SPDX-License-Identifier: Apache-2.0 */

#include "network/flows.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "basic/alloc-util.h"

#define GET_FLOWS ((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET)
#define FLOW ((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW)

typedef struct Search {
        FlowAddress *addresses;
        size_t n;
} Search;

static int compare(const void *a, const void *b) {
        return memcmp(&((const FlowAddress *) a)->address, &((const FlowAddress *) b)->address, sizeof(Address));
}

static FlowAddress *find(const FlowAddress *addresses, size_t n, const Address *a) {
        const FlowAddress key = { .address = *a };

        return n > 0 ? bsearch(&key, addresses, n, sizeof(*addresses), compare) : NULL;
}

bool flows_is_open(const FlowAddress *addresses, size_t n, const Address *a) {
        const FlowAddress *f = find(addresses, n, a);

        return f && f->open;
}

/* Closed on both sides, or only waited for, is not in use. */
static bool tcp_is_open(struct nlattr *information) {
        struct nlattr *tcp = information ? nla_find(nla_data(information), nla_len(information), CTA_PROTOINFO_TCP) : NULL;
        struct nlattr *state = tcp ? nla_find(nla_data(tcp), nla_len(tcp), CTA_PROTOINFO_TCP_STATE) : NULL;

        if (!state || nla_len(state) < 1)
                return true; /* we cannot tell */
        switch (nla_get_u8(state)) {

        case TCP_CONNTRACK_SYN_SENT:
        case TCP_CONNTRACK_SYN_SENT2:
        case TCP_CONNTRACK_SYN_RECV:
        case TCP_CONNTRACK_ESTABLISHED:
        case TCP_CONNTRACK_FIN_WAIT:
        case TCP_CONNTRACK_CLOSE_WAIT:
                return true;

        default:
                return false;
        }
}

static uint8_t protocol_of(struct nlattr *tuple) {
        struct nlattr *p = nla_find(nla_data(tuple), nla_len(tuple), CTA_TUPLE_PROTO);
        struct nlattr *number = p ? nla_find(nla_data(p), nla_len(p), CTA_PROTO_NUM) : NULL;

        return number && nla_len(number) >= 1 ? nla_get_u8(number) : 0;
}

static bool flow_is_open(struct nlmsghdr *h, struct nlattr *tuple) {
        struct nlattr *status;
        uint32_t bits = 0;

        switch (protocol_of(tuple)) {

        case IPPROTO_TCP:
                return tcp_is_open(nlmsg_find_attr(h, sizeof(struct nfgenmsg), CTA_PROTOINFO));

        case IPPROTO_ICMP:
        case IPPROTO_ICMPV6:
                return false;

        default:
                /* A question and its answer (DNS, the time) are none: a guest that asks once a minute would never sleep. */
                status = nlmsg_find_attr(h, sizeof(struct nfgenmsg), CTA_STATUS);
                if (status && nla_len(status) >= (int) sizeof(bits))
                        bits = be32toh(nla_get_u32(status));
                return bits & IPS_ASSURED;
        }
}

static void mark(const Search *s, struct nlattr *a, int32_t family) {
        Address address = { .family = family };
        int size = family == AF_INET ? 4 : 16;
        FlowAddress *f;

        if (!a || nla_len(a) != size)
                return;
        memcpy(address.bytes, nla_data(a), (size_t) size);
        f = find(s->addresses, s->n, &address);
        if (f)
                f->open = true;
}

static void mark_ends(const Search *s, struct nlattr *tuple) {
        struct nlattr *ip = tuple ? nla_find(nla_data(tuple), nla_len(tuple), CTA_TUPLE_IP) : NULL;

        if (!ip)
                return;
        mark(s, nla_find(nla_data(ip), nla_len(ip), CTA_IP_V4_SRC), AF_INET);
        mark(s, nla_find(nla_data(ip), nla_len(ip), CTA_IP_V4_DST), AF_INET);
        mark(s, nla_find(nla_data(ip), nla_len(ip), CTA_IP_V6_SRC), AF_INET6);
        mark(s, nla_find(nla_data(ip), nla_len(ip), CTA_IP_V6_DST), AF_INET6);
}

static int on_flow(struct nlmsghdr *h, void *userdata) {
        struct nlattr *tuple;

        if (h->nlmsg_type != FLOW || (size_t) nlmsg_datalen(h) < sizeof(struct nfgenmsg))
                return 0;
        tuple = nlmsg_find_attr(h, sizeof(struct nfgenmsg), CTA_TUPLE_ORIG);
        if (!tuple || !flow_is_open(h, tuple))
                return 0;
        mark_ends(userdata, tuple);
        /* Behind a translation of addresses one end has another in the answers. */
        mark_ends(userdata, nlmsg_find_attr(h, sizeof(struct nfgenmsg), CTA_TUPLE_REPLY));
        return 0;
}

int flows_find(Netlink *nl, FlowAddress *addresses, size_t n) {
        const struct nfgenmsg g = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
        _cleanup_netlink_message_ NetlinkMessage *m = netlink_message_new(GET_FLOWS, NLM_F_DUMP, &g, sizeof(g));
        Search s = { .addresses = addresses, .n = n };
        int r;

        if (!m)
                return -ENOMEM;
        if (n == 0)
                return 0;
        qsort(addresses, n, sizeof(*addresses), compare);
        r = netlink_query(nl, m, on_flow, &s);
        for (size_t i = 0; r < 0 && i < n; i++)
                addresses[i].open = false;
        return r;
}
