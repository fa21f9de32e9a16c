/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

#define REQUEST_MAX 256u
#define TEXT_MAX (INET6_ADDRSTRLEN + sizeof("/128"))

/* One request: header, a structure that depends on its type, attributes. They are few and small; what does not fit is
 * a mistake of ours and ends in -E2BIG when it is to be sent. */
typedef struct Request {
        union {
                struct nlmsghdr header;
                uint8_t buf[REQUEST_MAX];
        };
        bool overflow;
} Request;

static void *request_init(Request *q, uint16_t type, uint16_t flags, size_t body) {
        *q = (Request) {};
        q->header = (struct nlmsghdr) {
                .nlmsg_len = (uint32_t) NLMSG_LENGTH(body),
                .nlmsg_type = type,
                .nlmsg_flags = (uint16_t) (NLM_F_REQUEST | NLM_F_ACK | flags),
                .nlmsg_seq = 1,
        };
        return NLMSG_DATA(&q->header);
}

static void request_add(Request *q, uint16_t type, const void *p, size_t n) {
        size_t at = NLMSG_ALIGN(q->header.nlmsg_len);
        struct rtattr attribute = { .rta_len = (uint16_t) RTA_LENGTH(n), .rta_type = type };

        if (n > REQUEST_MAX || at + RTA_SPACE(n) > REQUEST_MAX) {
                q->overflow = true;
                return;
        }
        memcpy(q->buf + at, &attribute, sizeof(attribute));
        memcpy(q->buf + at + RTA_LENGTH(0), p, n);
        q->header.nlmsg_len = (uint32_t) (at + RTA_LENGTH(n));
}

static void request_add_u32(Request *q, uint16_t type, uint32_t v) {
        request_add(q, type, &v, sizeof(v));
}

static void request_add_address(Request *q, uint16_t type, const GpAddress *a) {
        request_add(q, type, a->bytes, gp_family_size(a->family));
}

/* The kernel answers every request before sendto() returns, with NLMSG_ERROR, whose error is 0 for "done". */
static int request_run(int fd, const Request *q) {
        struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        union {
                struct nlmsghdr header;
                uint8_t buf[1024];
        } answer;
        const struct nlmsgerr *e = NLMSG_DATA(&answer.header);
        ssize_t n;

        if (q->overflow)
                return -E2BIG;
        do
                n = sendto(fd, q->buf, q->header.nlmsg_len, 0, (struct sockaddr *) &kernel, sizeof(kernel));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return negative_errno();
        do
                n = recv(fd, &answer, sizeof(answer), 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return negative_errno();
        if ((size_t) n < NLMSG_LENGTH(sizeof(*e)) || answer.header.nlmsg_type != NLMSG_ERROR)
                return -EPROTO;
        return e->error > 0 ? -EPROTO : e->error;
}

/* Links. */

static int link_up(int fd, int ifindex, uint32_t mtu) {
        struct ifinfomsg *i;
        Request q;

        i = request_init(&q, RTM_NEWLINK, 0, sizeof(*i));
        *i = (struct ifinfomsg) { .ifi_family = AF_UNSPEC, .ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
        if (mtu > 0)
                request_add_u32(&q, IFLA_MTU, mtu);
        return request_run(fd, &q);
}

static int link_find(const char *name) {
        unsigned i = if_nametoindex(name);

        return i > 0 ? (int) i : negative_errno();
}

/* Before it is up. Whoever is at the other end of the cable, it is not to be asked for advice, and nobody else has our
 * addresses; without this the link-local one would be in doubt for a second or two. A kernel without IPv6 has none of it. */
static int link_settle(const char *name, char **ret_why) {
        static const char *const settings[][2] = {
                { "accept_ra", "0" },
                { "accept_dad", "0" },
                { "dad_transmits", "0" },
                { "router_solicitations", "0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                _cleanup_free_ char *path = strprintf("/proc/sys/net/ipv6/conf/%s/%s", name, settings[i][0]);
                _cleanup_close_ int fd = -EBADF;
                int r;

                if (!path)
                        return -ENOMEM;
                fd = open(path, O_WRONLY | O_CLOEXEC);
                r = fd < 0 ? negative_errno() : write_all(fd, settings[i][1], strlen(settings[i][1]));
                if (r < 0 && r != -ENOENT) {
                        *ret_why = strprintf("Cannot set %s: %s", path, strerror(-r));
                        return r;
                }
        }
        return 0;
}

/* Addresses and routes. */

static const char *prefix_text(const GpPrefix *p, char buf[static TEXT_MAX]) {
        size_t n;

        if (!inet_ntop(p->address.family, p->address.bytes, buf, INET6_ADDRSTRLEN))
                return "?";
        n = strlen(buf);
        (void) snprintf(buf + n, TEXT_MAX - n, "/%u", p->length);
        return buf;
}

static int add_address(int fd, int ifindex, const GpPrefix *p, char **ret_why) {
        bool v6 = p->address.family == AF_INET6;
        char text[TEXT_MAX];
        struct ifaddrmsg *a;
        Request q;
        int r;

        a = request_init(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*a));
        *a = (struct ifaddrmsg) {
                .ifa_family = (uint8_t) p->address.family,
                .ifa_prefixlen = p->length,
                .ifa_scope = RT_SCOPE_UNIVERSE,
                .ifa_index = (uint32_t) ifindex,
        };
        request_add_address(&q, IFA_LOCAL, &p->address);
        request_add_address(&q, IFA_ADDRESS, &p->address);
        request_add_u32(&q, IFA_FLAGS, IFA_F_NOPREFIXROUTE | (v6 ? IFA_F_NODAD : 0));
        r = request_run(fd, &q);
        if (r < 0)
                *ret_why = strprintf("Cannot give %s the address %s: %s", NETWORK_DEVICE, prefix_text(p, text), strerror(-r));
        return r;
}

static int add_route(int fd, int ifindex, const GpRoute *route, char **ret_why) {
        bool gateway = route->gateway.family != AF_UNSPEC;
        char destination[TEXT_MAX], via[TEXT_MAX] = "";
        struct rtmsg *m;
        Request q;
        int r;

        m = request_init(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));
        *m = (struct rtmsg) {
                .rtm_family = (uint8_t) route->destination.address.family,
                .rtm_dst_len = route->destination.length,
                .rtm_table = RT_TABLE_MAIN,
                .rtm_protocol = RTPROT_BOOT,
                .rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
                .rtm_type = RTN_UNICAST,
                .rtm_flags = gateway ? RTNH_F_ONLINK : 0,
        };
        if (route->destination.length > 0)
                request_add_address(&q, RTA_DST, &route->destination.address);
        if (gateway)
                request_add_address(&q, RTA_GATEWAY, &route->gateway);
        request_add_u32(&q, RTA_OIF, (uint32_t) ifindex);
        r = request_run(fd, &q);
        if (r >= 0)
                return r;
        if (gateway)
                (void) inet_ntop(route->gateway.family, route->gateway.bytes, via, sizeof(via));
        *ret_why = strprintf("Cannot add the route to %s%s%s: %s", prefix_text(&route->destination, destination),
                        gateway ? " via " : "", via, strerror(-r));
        return r;
}

static int device_up(int fd, const NetworkConfig *c, char **ret_why) {
        int ifindex, r;

        ifindex = link_find(NETWORK_DEVICE);
        if (ifindex < 0) {
                *ret_why = strprintf("There is no network device %s: %s", NETWORK_DEVICE, strerror(-ifindex));
                return ifindex;
        }
        r = link_settle(NETWORK_DEVICE, ret_why);
        if (r < 0)
                return r;
        r = link_up(fd, ifindex, c->mtu);
        if (r < 0) {
                *ret_why = c->mtu > 0 ? strprintf("Cannot bring %s up with an MTU of %u: %s", NETWORK_DEVICE, c->mtu, strerror(-r))
                                      : strprintf("Cannot bring %s up: %s", NETWORK_DEVICE, strerror(-r));
                return r;
        }
        for (size_t i = 0; r >= 0 && i < c->n_addresses; i++)
                r = add_address(fd, ifindex, &c->addresses[i], ret_why);
        for (size_t i = 0; r >= 0 && i < c->n_routes; i++)
                r = add_route(fd, ifindex, &c->routes[i], ret_why);
        return r;
}

int network_up(const NetworkConfig *c, char **ret_why) {
        _cleanup_close_ int fd = -EBADF;
        int ifindex, r;

        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (fd < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot open a netlink socket: %s", strerror(-r));
                return r;
        }
        ifindex = link_find("lo");
        r = ifindex < 0 ? ifindex : link_up(fd, ifindex, 0);
        if (r < 0) {
                *ret_why = strprintf("Cannot bring lo up: %s", strerror(-r));
                return r;
        }
        return c->n_addresses > 0 || c->n_routes > 0 ? device_up(fd, c, ret_why) : 0;
}
