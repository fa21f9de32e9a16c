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

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "network/link.h"
#include "network/wake.h"

/* A burst to VMs that sleep; the default of 500 is for one that is read all the time, too. */
#define QUEUE_LENGTH 4096

#define GATEWAY4 UINT32_C(0xa9fe0101) /* 169.254.1.1 */

typedef struct Setting {
        const char *family, *name;
        unsigned value;
        bool required;
} Setting;

/* Nothing is to speak by itself here, nor to be told anything. */
static const Setting settings[] = {
        { "ipv4", "send_redirects", 0, false },
        { "ipv6", "disable_ipv6", 0, true },
        { "ipv6", "accept_ra", 0, false },
        { "ipv6", "addr_gen_mode", 1, false },
};

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

static int open_tun(const char *name, unsigned mtu) {
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
                r = link_set_sysctl(name, settings[i].family, settings[i].name, settings[i].value);
                if (r < 0 && settings[i].required)
                        return r;
        }
        r = bring_up(name, mtu);
        return r < 0 ? r : TAKE_FD(fd);
}

/* IPPROTO_RAW: the header is the caller's, and nothing is ever received. */
static int open_raw(int family) {
        int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);

        return fd < 0 ? negative_errno() : fd;
}

void wake_fds_done(WakeFds *fds) {
        fds->tun = safe_close(fds->tun);
        fds->raw4 = safe_close(fds->raw4);
        fds->raw6 = safe_close(fds->raw6);
}

int wake_open(const char *name, unsigned mtu, WakeFds *fds) {
        _cleanup_(wake_fds_done) WakeFds opened = WAKE_FDS_NONE;

        opened.raw4 = open_raw(AF_INET);
        if (opened.raw4 < 0)
                return opened.raw4;
        opened.raw6 = open_raw(AF_INET6);
        if (opened.raw6 < 0)
                return opened.raw6;
        if (fds->tun < 0) {
                opened.tun = open_tun(name, mtu);
                if (opened.tun < 0)
                        return opened.tun;
                fds->tun = TAKE_FD(opened.tun);
        }
        fds->raw4 = TAKE_FD(opened.raw4);
        fds->raw6 = TAKE_FD(opened.raw6);
        return 0;
}
