/* SPDX-License-Identifier: Apache-2.0 */

/* A token bucket by rtnetlink, see the header. */

#include "network/shaper.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "basic/string-util.h"
#include "basic/time-util.h"

#define TBF_HANDLE TC_H_MAKE(1u << 16, 0u)

#define LATENCY_USEC (50 * USEC_PER_MSEC)
/* What is larger than the bucket never passes; of what segmentation offload put together, tbf makes frames again first. */
#define BURST_MIN ((UINT64_C(16) << 10) + 1514)
#define BURST_MAX (UINT64_C(1) << 30)

static NetlinkMessage *qdisc_message(int type, int flags, int ifindex, uint32_t handle, const char *kind) {
        const struct tcmsg t = {
                .tcm_family = AF_UNSPEC,
                .tcm_ifindex = ifindex,
                .tcm_parent = TC_H_ROOT,
                .tcm_handle = handle,
        };
        NetlinkMessage *m = netlink_message_new(type, flags, &t, sizeof(t));

        if (m && kind && nla_put_string(m, TCA_KIND, kind) < 0)
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

static uint64_t burst_of(uint64_t rate) {
        return MIN2(MAX2(rate / 100, BURST_MIN), BURST_MAX);
}

static uint32_t low_rate(uint64_t rate) {
        return (uint32_t) MIN2(rate, UINT32_MAX);
}

/* The whole of an old and a new attribute; 0: none of them. */
static uint64_t read_rate(const struct tc_ratespec *r, struct nlattr *rate64) {
        return rate64 ? nla_get_u64(rate64) : r->rate;
}

typedef struct Found {
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
static int find_qdisc(Netlink *nl, int ifindex, Found *ret) {
        _cleanup_netlink_message_ NetlinkMessage *m = qdisc_message(RTM_GETQDISC, NLM_F_ECHO, ifindex, 0, NULL);
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

static int remove_qdisc(Netlink *nl, int ifindex) {
        _cleanup_netlink_message_ NetlinkMessage *m = qdisc_message(RTM_DELQDISC, 0, ifindex, TBF_HANDLE, NULL);

        return m ? netlink_run(nl, m) : -ENOMEM;
}

static int put_tbf(NetlinkMessage *m, uint64_t rate) {
        uint64_t burst = burst_of(rate);
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
int shaper_set(Netlink *nl, int ifindex, uint64_t receive_max) {
        _cleanup_netlink_message_ NetlinkMessage *m = NULL;
        Found found;
        int r;

        if (receive_max < SHAPER_RATE_MIN)
                return -EINVAL;
        r = find_qdisc(nl, ifindex, &found);
        if (r < 0)
                return r;
        if (receive_max == UINT64_MAX)
                return found.ours ? remove_qdisc(nl, ifindex) : 0;
        if (found.ours && found.rate == receive_max)
                return 0;
        m = qdisc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, ifindex, TBF_HANDLE, "tbf");
        if (!m || put_tbf(m, receive_max) < 0)
                return -ENOMEM;
        return missing_is_unsupported(netlink_run(nl, m));
}
