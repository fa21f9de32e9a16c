/* SPDX-License-Identifier: Apache-2.0 */

/* What the network may send to sleeping VMs. The input is a row of packets, each behind its length (two
 * bytes, big endian); a length of 0 is a step of the caller instead: the byte behind it says which. Beside
 * not crashing, what was parsed has to be within the packet's own words, and the counters have to add up. */

#include <arpa/inet.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "network/wake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const addresses[] = { "fd00:1::a", "fd00:1::b", "::ffff:10.99.0.10" };

static struct in6_addr address(unsigned i) {
        struct in6_addr a;

        if (inet_pton(AF_INET6, addresses[i % ELEMENTSOF(addresses)], &a) != 1)
                abort();
        return a;
}

static void on_wake(const struct in6_addr *a, const PacketInfo *packet, void *vm, void *userdata) {
        unsigned *wakes = userdata;

        if (!packet->has_header || memcmp(a, &packet->destination, sizeof(*a)) != 0)
                abort();
        (*wakes)++;
}

static void step(Wake *w, uint8_t what) {
        struct in6_addr a = address(what >> 4);
        WakePolicy p;

        if (wake_policy_parse(what & 8 ? "tcp:22 udp:53-99 ping" : WAKE_POLICY_DEFAULT, &p) < 0)
                abort();
        switch (what & 3) {
        case 0:
                (void) wake_arm(w, &a, &p, NULL);
                break;
        case 1:
                (void) wake_release(w, &a);
                break;
        case 2:
                (void) wake_rest(w, &a);
                break;
        case 3:
                wake_disarm(w, &a);
                break;
        }
}

static void check_parser(const uint8_t *data, size_t size) {
        PacketInfo i, again;

        memset(&i, 0xa5, sizeof(i));
        if (packet_parse(data, size, &i) < 0)
                return;
        if (i.family != AF_INET && i.family != AF_INET6)
                abort();
        if (IN6_IS_ADDR_V4MAPPED(&i.source) != (i.family == AF_INET))
                abort();
        if (packet_parse(data, size, &again) < 0 || memcmp(&i.destination, &again.destination, 16) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        WakeLimits limits = WAKE_LIMITS_DEFAULT;
        const WakeStatistics *s;
        uint64_t packets = 0;
        unsigned wakes = 0;
        Wake *w;
        int device[2];
        WakeFds fds;

        /* A device that is silent; what is injected goes nowhere. */
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, device) < 0)
                return 0;
        fds = (WakeFds){ .tun = device[0], .raw4 = -EBADF, .raw6 = -EBADF };
        limits.packets = 3;
        limits.bytes_total = 4000;
        limits.sources = 2;
        if (wake_new(&fds, &limits, on_wake, &wakes, &w) < 0)
                abort();
        for (unsigned i = 0; i < ELEMENTSOF(addresses); i++)
                step(w, (uint8_t) (i << 4));
        while (size >= 3) {
                size_t n = (size_t) (data[0] << 8 | data[1]);
                _cleanup_free_ uint8_t *exact = NULL;

                if (n == 0) {
                        step(w, data[2]);
                        data += 3;
                        size -= 3;
                        continue;
                }
                n = MIN2(n, size - 2);
                exact = memdup(data + 2, n); /* so that the sanitizer sees a byte too far */
                if (!exact)
                        abort();
                check_parser(exact, n);
                wake_process_packet(w, exact, n, packets++);
                data += 2 + n;
                size -= 2 + n;
        }
        s = wake_statistics(w);
        /* Each packet is one of these; a wake's own may have found no room. An injected one was held or a
         * stray. */
        if (s->malformed + s->multicast + s->unknown + s->refused + s->limited + s->overflowed + s->held >
                        packets)
                abort();
        if (s->wakes != wakes || s->discarded > s->held)
                abort();
        wake_free(w);
        safe_close(device[1]);
        return 0;
}
