/* SPDX-License-Identifier: Apache-2.0 */

/* Limits of rates, see the header. */

#include "network/shaper.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "basic/string-util.h"
#include "basic/time-util.h"

#define TBF_HANDLE TC_H_MAKE(1u << 16, 0u)
#define INGRESS_HANDLE TC_H_MAKE(TC_H_INGRESS, 0u)
#define FILTER_HANDLE 1u
#define FILTER_PRIORITY 1u

#define LATENCY_USEC (50 * USEC_PER_MSEC)
/* What is larger than the bucket never passes; of what segmentation offload put together, tbf makes frames again first, … */
#define TBF_BURST_MIN ((UINT64_C(16) << 10) + 1514)
/* … and police does not. TCP sends in bursts, and what is dropped costs it more than what waits. */
#define POLICE_BURST_MIN (UINT64_C(128) << 10)
#define BURST_MAX (UINT64_C(1) << 30)

#define NSEC_PER_TICK 64u /* PSCHED_SHIFT */
#define TABLE_SIZE 1024   /* TC_RTAB_SIZE */

static NetlinkMessage *traffic_message(int type, int flags, int ifindex, uint32_t parent, uint32_t handle, uint32_t info) {
        const struct tcmsg t = {
                .tcm_family = AF_UNSPEC,
                .tcm_ifindex = ifindex,
                .tcm_parent = parent,
                .tcm_handle = handle,
                .tcm_info = info,
        };

        return netlink_message_new(type, flags, &t, sizeof(t));
}

static NetlinkMessage *qdisc_message(int type, int flags, int ifindex, uint32_t parent, uint32_t handle, const char *kind) {
        NetlinkMessage *m = traffic_message(type, flags, ifindex, parent, handle, 0);

        if (m && kind && nla_put_string(m, TCA_KIND, kind) < 0)
                m = netlink_message_free(m);
        return m;
}

static NetlinkMessage *filter_message(int type, int flags, int ifindex) {
        NetlinkMessage *m = traffic_message(type, flags, ifindex, INGRESS_HANDLE, FILTER_HANDLE,
                                            TC_H_MAKE(FILTER_PRIORITY << 16, htons(ETH_P_ALL)));

        if (m && nla_put_string(m, TCA_KIND, "matchall") < 0)
                m = netlink_message_free(m);
        return m;
}

/* "Nothing there", by where in the kernel it is noticed. */
static int absent_is_fine(int r) {
        return r == -ENOENT || r == -EINVAL ? 0 : r;
}

/* The kernel answers so when it has no such kind and no module of it. */
static int missing_is_unsupported(int r) {
        return r == -ENOENT ? -EOPNOTSUPP : r;
}

static uint64_t burst_of(uint64_t rate, uint64_t fraction, uint64_t min) {
        return MIN2(MAX2(rate / fraction, min), BURST_MAX);
}

static uint32_t low_rate(uint64_t rate) {
        return (uint32_t) MIN2(rate, UINT32_MAX);
}

/* The whole of an old and a new attribute; 0: none of them. */
static uint64_t read_rate(const struct tc_ratespec *r, struct nlattr *rate64) {
        return rate64 ? nla_get_u64(rate64) : r->rate;
}

typedef struct Found {
        uint32_t handle; /* of the qdisc */
        bool ours;
        uint64_t rate;
} Found;

static struct nlattr *traffic_attribute(struct nlmsghdr *h, int type) {
        return nlmsg_find_attr(h, sizeof(struct tcmsg), type);
}

static bool is_kind(struct nlmsghdr *h, const char *kind) {
        struct nlattr *a = traffic_attribute(h, TCA_KIND);

        return a && nla_strcmp(a, kind) == 0;
}

static int on_qdisc(struct nlmsghdr *h, void *userdata) {
        struct nlattr *options, *parameters;
        const struct tcmsg *t;
        Found *found = userdata;

        if (h->nlmsg_type != RTM_NEWQDISC || (size_t) nlmsg_datalen(h) < sizeof(*t))
                return 0;
        t = nlmsg_data(h);
        found->handle = t->tcm_handle;
        options = traffic_attribute(h, TCA_OPTIONS);
        parameters = options && is_kind(h, "tbf") ? nla_find(nla_data(options), nla_len(options), TCA_TBF_PARMS) : NULL;
        if (!parameters || nla_len(parameters) < (int) sizeof(struct tc_tbf_qopt))
                return 0;
        found->ours = t->tcm_handle == TBF_HANDLE;
        found->rate = read_rate(&((const struct tc_tbf_qopt *) nla_data(parameters))->rate,
                                nla_find(nla_data(options), nla_len(options), TCA_TBF_RATE64));
        return 0;
}

/* The kernel tells its listeners rather than us, without NLM_F_ECHO. */
static int find_qdisc(Netlink *nl, int ifindex, uint32_t parent, Found *ret) {
        _cleanup_netlink_message_ NetlinkMessage *m = qdisc_message(RTM_GETQDISC, NLM_F_ECHO, ifindex, parent, 0, NULL);
        Found found = {};
        int r;

        if (!m)
                return -ENOMEM;
        r = absent_is_fine(netlink_query(nl, m, on_qdisc, &found));
        if (r < 0)
                return r;
        *ret = found;
        return 0;
}

static int remove_qdisc(Netlink *nl, int ifindex, uint32_t parent, uint32_t handle) {
        _cleanup_netlink_message_ NetlinkMessage *m = qdisc_message(RTM_DELQDISC, 0, ifindex, parent, handle, NULL);

        return m ? netlink_run(nl, m) : -ENOMEM;
}

static int put_tbf(NetlinkMessage *m, uint64_t rate) {
        uint64_t burst = burst_of(rate, 100, TBF_BURST_MIN);
        uint64_t limit = rate / (USEC_PER_SEC / LATENCY_USEC) + burst;
        const struct tc_tbf_qopt q = {
                .rate = { .rate = low_rate(rate), .linklayer = TC_LINKLAYER_ETHERNET },
                .limit = (uint32_t) MIN2(limit, UINT32_MAX),
        };
        struct nlattr *options = nla_nest_start(m, TCA_OPTIONS);

        if (!options || nla_put(m, TCA_TBF_PARMS, sizeof(q), &q) < 0 || nla_put_u32(m, TCA_TBF_BURST, (uint32_t) burst) < 0 ||
            (rate > UINT32_MAX && nla_put_u64(m, TCA_TBF_RATE64, rate) < 0))
                return -ENOMEM;
        (void) nla_nest_end(m, options);
        return 0;
}

/* A rate is changed within the qdisc: what waits in it stays. */
static int set_receive(Netlink *nl, int ifindex, uint64_t rate) {
        _cleanup_netlink_message_ NetlinkMessage *m = NULL;
        Found found;
        int r;

        r = find_qdisc(nl, ifindex, TC_H_ROOT, &found);
        if (r < 0)
                return r;
        if (rate == UINT64_MAX)
                return found.ours ? remove_qdisc(nl, ifindex, TC_H_ROOT, TBF_HANDLE) : 0;
        if (found.ours && found.rate == rate)
                return 0;
        m = qdisc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, ifindex, TC_H_ROOT, TBF_HANDLE, "tbf");
        if (!m || put_tbf(m, rate) < 0)
                return -ENOMEM;
        return missing_is_unsupported(netlink_run(nl, m));
}

static struct nlattr *find_nested(struct nlattr *a, int type) {
        return a ? nla_find(nla_data(a), nla_len(a), type) : NULL;
}

static int on_filter(struct nlmsghdr *h, void *userdata) {
        struct nlattr *action, *options, *police;
        Found *found = userdata;

        if (h->nlmsg_type != RTM_NEWTFILTER || (size_t) nlmsg_datalen(h) < sizeof(struct tcmsg) || !is_kind(h, "matchall"))
                return 0;
        action = find_nested(find_nested(traffic_attribute(h, TCA_OPTIONS), TCA_MATCHALL_ACT), 1);
        options = find_nested(action, TCA_ACT_OPTIONS);
        police = find_nested(options, TCA_POLICE_TBF);
        found->ours = true;
        if (police && nla_len(police) >= (int) sizeof(struct tc_police))
                found->rate = read_rate(&((const struct tc_police *) nla_data(police))->rate,
                                        find_nested(options, TCA_POLICE_RATE64));
        return 0;
}

static int find_filter(Netlink *nl, int ifindex, Found *ret) {
        _cleanup_netlink_message_ NetlinkMessage *m = filter_message(RTM_GETTFILTER, 0, ifindex);
        Found found = {};
        int r;

        if (!m)
                return -ENOMEM;
        r = absent_is_fine(netlink_query(nl, m, on_filter, &found));
        if (r < 0)
                return r;
        *ret = found;
        return 0;
}

static int put_police(NetlinkMessage *m, uint64_t rate) {
        /* The kernel insists on the table of old times, and looks into it only to guess the link layer. */
        static const uint32_t table[TABLE_SIZE / sizeof(uint32_t)] = {};
        uint64_t burst = burst_of(rate, 20, POLICE_BURST_MIN);
        const struct tc_police p = {
                .action = TC_ACT_SHOT,
                .burst = (uint32_t) (burst * (USEC_PER_SEC * NSEC_PER_USEC / NSEC_PER_TICK) / rate),
                .mtu = UINT16_MAX + 1u,
                .rate = { .rate = low_rate(rate), .linklayer = TC_LINKLAYER_ETHERNET, .cell_log = 8 },
        };

        if (nla_put(m, TCA_POLICE_TBF, sizeof(p), &p) < 0 || nla_put(m, TCA_POLICE_RATE, sizeof(table), table) < 0 ||
            nla_put_u32(m, TCA_POLICE_RESULT, TC_ACT_OK) < 0 ||
            (rate > UINT32_MAX && nla_put_u64(m, TCA_POLICE_RATE64, rate) < 0))
                return -ENOMEM;
        return 0;
}

static int put_filter(NetlinkMessage *m, uint64_t rate) {
        struct nlattr *options = nla_nest_start(m, TCA_OPTIONS), *actions, *action, *of_action;

        actions = options ? nla_nest_start(m, TCA_MATCHALL_ACT) : NULL;
        action = actions ? nla_nest_start(m, 1) : NULL;
        if (!action || nla_put_string(m, TCA_ACT_KIND, "police") < 0)
                return -ENOMEM;
        of_action = nla_nest_start(m, TCA_ACT_OPTIONS);
        if (!of_action || put_police(m, rate) < 0)
                return -ENOMEM;
        (void) nla_nest_end(m, of_action);
        (void) nla_nest_end(m, action);
        (void) nla_nest_end(m, actions);
        (void) nla_nest_end(m, options);
        return 0;
}

static int add_ingress(Netlink *nl, int ifindex) {
        _cleanup_netlink_message_ NetlinkMessage *m =
                qdisc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_INGRESS, INGRESS_HANDLE, "ingress");
        int r;

        r = m ? netlink_run(nl, m) : -ENOMEM;
        return r == -EEXIST ? 0 : missing_is_unsupported(r);
}

static int remove_filter(Netlink *nl, int ifindex) {
        _cleanup_netlink_message_ NetlinkMessage *m = filter_message(RTM_DELTFILTER, 0, ifindex);

        return m ? netlink_run(nl, m) : -ENOMEM;
}

static int add_filter(Netlink *nl, int ifindex, uint64_t rate) {
        _cleanup_netlink_message_ NetlinkMessage *m = filter_message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, ifindex);

        if (!m || put_filter(m, rate) < 0)
                return -ENOMEM;
        return missing_is_unsupported(netlink_run(nl, m));
}

/* The kernel's matchall cannot be changed: for a moment there is none. */
static int replace_filter(Netlink *nl, int ifindex, uint64_t rate) {
        Found found;
        int r;

        r = find_filter(nl, ifindex, &found);
        if (r < 0)
                return r;
        if (found.ours && found.rate == rate)
                return 0;
        if (found.ours)
                r = remove_filter(nl, ifindex);
        return r < 0 ? r : add_filter(nl, ifindex, rate);
}

/* A qdisc without a filter limits nothing, and stays: there is nothing wrong with it, and to remove it would take the kernel's
 * words on the failure with it. */
static int set_transmit(Netlink *nl, int ifindex, uint64_t rate) {
        Found found;
        int r;

        r = find_qdisc(nl, ifindex, TC_H_INGRESS, &found);
        if (r < 0)
                return r;
        if (rate == UINT64_MAX)
                return found.handle == INGRESS_HANDLE ? remove_qdisc(nl, ifindex, TC_H_INGRESS, INGRESS_HANDLE) : 0;
        if (found.handle != INGRESS_HANDLE) {
                r = add_ingress(nl, ifindex);
                if (r < 0)
                        return r;
        }
        return replace_filter(nl, ifindex, rate);
}

int shaper_set(Netlink *nl, int ifindex, uint64_t receive_max, uint64_t transmit_max) {
        int r, k;

        if (receive_max < SHAPER_RATE_MIN || transmit_max < SHAPER_RATE_MIN)
                return -EINVAL;
        r = set_receive(nl, ifindex, receive_max);
        if (r < 0 && r != -EOPNOTSUPP)
                return r;
        k = set_transmit(nl, ifindex, transmit_max);
        return k < 0 ? k : r;
}
