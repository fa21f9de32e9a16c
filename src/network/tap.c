/* SPDX-License-Identifier: Apache-2.0 */

/* The TAP of a VM, see the header. */

#include "network/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "network/link.h"

#define PREFIX "tap-"
#define DIGITS 8u

void tap_name(char buf[static IFNAMSIZ], uint32_t id) {
        (void) snprintf(buf, IFNAMSIZ, PREFIX "%08x", id);
}

bool tap_name_is_valid(const char *name) {
        const char *digits = startswith(name, PREFIX);

        return digits && strlen(digits) == DIGITS && strspn(digits, "0123456789abcdef") == DIGITS;
}

void tap_mac(const char *name, uint8_t ret[static 6]) {
        unsigned long id = strtoul(name + strlen(PREFIX), NULL, 16);

        ret[0] = 0x0a;
        ret[1] = 0x68;
        for (unsigned i = 0; i < 4; i++)
                ret[2 + i] = (uint8_t) (id >> (24 - 8 * i));
}

/* A new link, or nothing: never one that is there, whoever made it. */
static int open_tap(const char *name) {
        struct ifreq q = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (short) IFF_TUN_EXCL };
        _cleanup_close_ int fd = -EBADF;

        memcpy(q.ifr_name, name, strlen(name));
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (ioctl(fd, TUNSETIFF, &q) < 0)
                return errno == EBUSY ? -EEXIST : -errno;
        return TAKE_FD(fd);
}

static int set_sysctls(const char *name) {
        static const struct {
                const char *family, *setting;
                unsigned value;
        } settings[] = {
                { "ipv6", "disable_ipv6", 0 },
                { "ipv6", "accept_ra", 0 },
                { "ipv6", "autoconf", 0 },
                /* Of the link alone, not of the host: it answers as a router does. */
                { "ipv6", "forwarding", 1 },
                { "ipv6", "hop_limit", 64 },
                { "ipv6", "accept_redirects", 0 },
                { "ipv4", "forwarding", 1 },
                { "ipv4", "accept_redirects", 0 },
                { "ipv4", "send_redirects", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                int r = link_set_sysctl(name, settings[i].family, settings[i].setting, settings[i].value);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_gateways(Netlink *nl, int ifindex) {
        Address a;
        int r;

        r = address_parse(TAP_GATEWAY_IPV6, &a);
        if (r < 0)
                return r;
        r = link_add_address(nl, ifindex, &a, 64);
        if (r < 0)
                return r;
        r = address_parse(TAP_GATEWAY_IPV4, &a);
        if (r < 0)
                return r;
        return link_add_address(nl, ifindex, &a, 32);
}

static int set_up(Netlink *nl, const char *name, int ifindex) {
        uint8_t mac[6];
        int r;

        tap_mac(name, mac);
        r = link_change(nl, ifindex, &(LinkChange) { .mtu = TAP_MTU, .mac = mac, .no_link_local = true });
        if (r < 0)
                return r;
        r = set_sysctls(name);
        if (r < 0)
                return r;
        r = add_gateways(nl, ifindex);
        if (r < 0)
                return r;
        return link_change(nl, ifindex, &(LinkChange) { .up = true });
}

int tap_create(Netlink *nl, const char *name, int *ret_fd, int *ret_ifindex) {
        _cleanup_close_ int fd = -EBADF;
        int ifindex, r;

        if (!tap_name_is_valid(name))
                return -EINVAL;
        fd = open_tap(name);
        if (fd < 0)
                return fd;
        r = tap_find(nl, name, &ifindex);
        if (r < 0)
                return r;
        r = set_up(nl, name, ifindex);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        *ret_ifindex = ifindex;
        return 0;
}

static bool is_ours(const Link *l) {
        return tap_name_is_valid(l->name) && streq(l->kind, "tun") && l->type == ARPHRD_ETHER;
}

int tap_find(Netlink *nl, const char *name, int *ret_ifindex) {
        Link link;
        int r;

        if (!tap_name_is_valid(name))
                return -EINVAL;
        r = link_find(nl, name, &link);
        if (r < 0)
                return r;
        if (!is_ours(&link))
                return -ENODEV;
        *ret_ifindex = link.ifindex;
        return 0;
}

int tap_remove(Netlink *nl, const char *name) {
        int ifindex, r;

        r = tap_find(nl, name, &ifindex);
        if (r >= 0)
                r = link_remove(nl, ifindex);
        return r == -ENODEV ? 0 : r;
}

int tap_list(Netlink *nl, Tap **ret, size_t *ret_n) {
        _cleanup_free_ Link *links = NULL;
        _cleanup_free_ Tap *taps = NULL;
        size_t n_links, n = 0;
        int r;

        r = link_list(nl, "tun", &links, &n_links);
        if (r < 0)
                return r;
        taps = new0(Tap, n_links);
        if (!taps)
                return -ENOMEM;
        for (size_t i = 0; i < n_links; i++)
                if (is_ours(&links[i])) {
                        memcpy(taps[n].name, links[i].name, sizeof(taps[n].name));
                        taps[n++].ifindex = links[i].ifindex;
                }
        *ret = TAKE_PTR(taps);
        *ret_n = n;
        return 0;
}
