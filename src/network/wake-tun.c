/* SPDX-License-Identifier: Apache-2.0 */

/* The device hero-wake: made with the fd, gone with the fd. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "network/wake.h"

/* A burst to VMs that sleep; the default of 500 is for one that is read all the time, too. */
#define QUEUE_LENGTH 4096

/* That of the TAPs. The kernel takes nothing in, where it checks the reverse path, by a device without
 * address; and the source of what this host sends is to be the same, whether the VM sleeps or not. */
#define GATEWAY4 UINT32_C(0xa9fe0101) /* 169.254.1.1 */

typedef struct Setting {
        const char *family, *name, *value;
        bool required;
} Setting;

/* Packets that come back carry any source: one behind another interface (so no strict reverse path), and one
 * of this very host. Nothing is to speak by itself here. */
static const Setting settings[] = {
        { "ipv4", "rp_filter", "2", true },
        { "ipv4", "accept_local", "1", true },
        { "ipv4", "forwarding", "1", true },
        { "ipv4", "send_redirects", "0", false },
        { "ipv6", "disable_ipv6", "0", true },
        { "ipv6", "accept_ra", "0", true },
        { "ipv6", "addr_gen_mode", "1", false },
        { "ipv6", "forwarding", "1", true },
};

static int apply(const char *name, const Setting *s) {
        char path[sizeof("/proc/sys/net/ipv4/conf//") + IFNAMSIZ + 32];
        _cleanup_close_ int fd = -EBADF;

        (void) snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", s->family, name, s->name);
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return negative_errno();
        return write_all(fd, s->value, strlen(s->value));
}

static int bring_up(const char *name, unsigned mtu) {
        struct sockaddr_in gateway = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(GATEWAY4) };
        _cleanup_close_ int fd = -EBADF;
        struct ifreq request = {};

        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return negative_errno();
        (void) snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
        request.ifr_mtu = (int) mtu;
        if (ioctl(fd, SIOCSIFMTU, &request) < 0)
                return negative_errno();
        request.ifr_qlen = QUEUE_LENGTH;
        if (ioctl(fd, SIOCSIFTXQLEN, &request) < 0)
                return negative_errno();
        memcpy(&request.ifr_addr, &gateway, sizeof(gateway));
        if (ioctl(fd, SIOCSIFADDR, &request) < 0) /* /32: it is point to point */
                return negative_errno();
        if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
                return negative_errno();
        request.ifr_flags |= IFF_UP;
        return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? negative_errno() : 0;
}

int wake_open_tun(const char *name, unsigned mtu) {
        struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (strlen(name) >= IFNAMSIZ || strchr(name, '/') || strchr(name, '%'))
                return -EINVAL;
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return negative_errno();
        (void) snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
        if (ioctl(fd, TUNSETIFF, &request) < 0)
                return negative_errno();
        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                r = apply(name, settings + i);
                if (r < 0 && settings[i].required)
                        return r;
        }
        r = bring_up(name, mtu);
        if (r < 0)
                return r;
        return TAKE_FD(fd);
}
