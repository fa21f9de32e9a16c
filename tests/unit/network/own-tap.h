/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A TAP as the daemon hands it over, in a network namespace of the test's own: both are gone with the process. */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* After <cmocka.h>. With the header before frames, by which guest and host leave each other work. An fd for the caller;
 * -errno: no namespace or no /dev/net/tun here, for the test to be skipped. A TAP that cannot be made in them is a failure. */
static inline int open_own_tap(const char *name) {
        struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        int fd;

        if (unshare(CLONE_NEWNET) < 0)
                return -errno;
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        (void) snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
        assert_return_code(ioctl(fd, TUNSETIFF, &ifr), errno);
        return fd;
}
