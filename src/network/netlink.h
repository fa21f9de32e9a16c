/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One netlink socket, for routes and links or for the packet filter's tables, in the namespace of whoever opens it.
 *
 * Every request is answered before the function returns, as the kernel works such requests off within send()
 * and recv(): nothing is waited for but the kernel's own lock, and never longer than a few seconds. Errors are the
 * kernel's very own as -errno, with its words where it has any; -ETIMEDOUT when there is no answer, -ENOBUFS when
 * an answer was lost. After an error the socket can be used again. */

#include <netlink/attr.h>
#include <netlink/msg.h>

#include "basic/macro.h"

typedef struct Netlink Netlink;

int netlink_open(Netlink **ret);
int netlink_open_netfilter(Netlink **ret); /* NETLINK_NETFILTER instead of NETLINK_ROUTE */
Netlink *netlink_close(Netlink *nl);
DEFINE_TRIVIAL_CLEANUP_FUNC(Netlink *, netlink_close);

/* A new request: its header (type, NLM_F_…) and the family's fixed part; NULL: out of memory. To be filled with
 * nla_put_…(), given to one of the following and freed. */
typedef struct nl_msg NetlinkMessage;

NetlinkMessage *netlink_message_new(int type, int flags, const void *fixed, size_t size);
NetlinkMessage *netlink_message_free(NetlinkMessage *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(NetlinkMessage *, netlink_message_free);
#define _cleanup_netlink_message_ _cleanup_(netlink_message_freep)

/* 0, or what the kernel answered. */
int netlink_run(Netlink *nl, NetlinkMessage *m);

/* The same with NLM_F_DUMP or for a single object: f is called for each message of the answer; what it returns below
 * 0 ends the calls and is returned. -EAGAIN: what is dumped changed meanwhile, so some of it may have been missed
 * or seen twice. */
typedef int (*netlink_object_t)(struct nlmsghdr *h, void *userdata);
int netlink_query(Netlink *nl, NetlinkMessage *m, netlink_object_t f, void *userdata);

/* The kernel's words on the last request's failure; "" when it had none. Valid until the next request. */
const char *netlink_error_text(const Netlink *nl) _pure_;
