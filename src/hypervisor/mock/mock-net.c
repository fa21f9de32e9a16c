/* SPDX-License-Identifier: Apache-2.0 */

/* The network of the mock guest: everything is taken, and answered only by the directive net-echo. */

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hypervisor/mock/mock-frame.h"
#include "hypervisor/mock/mock-vmm.h"

#define FRAME_MAX (128u * 1024u) /* room for the header before it, and for what a host may segment late */
#define FRAMES_AT_ONCE 64u

void mock_net_start(Mock *m) {
        struct ifreq ifr = {};
        int size, flags;

        if (m->tap_fd < 0)
                return;
        flags = fcntl(m->tap_fd, F_GETFL);
        if (flags >= 0)
                (void) fcntl(m->tap_fd, F_SETFL, flags | O_NONBLOCK);
        /* What is no TAP has frames and nothing before them. */
        if (ioctl(m->tap_fd, TUNGETIFF, &ifr) >= 0 && ifr.ifr_flags & IFF_VNET_HDR &&
            ioctl(m->tap_fd, TUNGETVNETHDRSZ, &size) >= 0 && size > 0 && size < 64)
                m->tap_header = (size_t) size;
}

void mock_net_input(Mock *m) {
        static uint8_t buf[FRAME_MAX];

        for (unsigned i = 0; i < FRAMES_AT_ONCE && m->tap_fd >= 0; i++) {
                ssize_t n = read(m->tap_fd, buf, sizeof(buf));
                size_t size;

                if (n <= 0) {
                        if (n == 0 || (errno != EAGAIN && errno != EINTR))
                                m->tap_fd = mock_fd_gone(m->tap_fd);
                        return;
                }
                if (!m->script.net_echo || (size_t) n < m->tap_header)
                        continue;
                size = mock_frame_answer(buf + m->tap_header, (size_t) n - m->tap_header, m->mac);
                if (size == 0)
                        continue;
                memset(buf, 0, m->tap_header); /* nothing is left to the host */
                (void) !write(m->tap_fd, buf, m->tap_header + size); /* a full one drops frames, like any other */
        }
}
