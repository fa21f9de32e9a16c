/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Waking a VM by the first packet for it. While it sleeps, its addresses are routed to the TUN device
 * hero-wake, whose other end is here: what comes out was addressed to a sleeping VM. A packet that may wake
 * it calls the handler; it and those that follow are held until the caller has brought the VM back and moved
 * the routes, and go on in their order. Who connects notices nothing but the delay.
 *
 * Everything is bounded (packets and bytes by address, bytes in all, wakes by source and in all); what
 * exceeds a bound is dropped as a busy network would, and TCP says it again. Addresses of IPv4 are mapped
 * (packet_map_address4()).
 *
 * The order of things for the caller:
 *   to sleep:  wake_arm(), then move the routes to hero-wake (a packet in between meets an armed address)
 *   to wake:   resume the VM, move the routes to the TAP, then wake_release()
 *   failed:    wake_rest() and it sleeps on, or wake_disarm() */

#include "network/packet.h"
#include "network/wake-limiter.h"
#include "network/wake-policy.h"

#define WAKE_INTERFACE "hero-wake"

typedef struct Wake Wake;

typedef struct WakeLimits {
        unsigned packets;   /* held for one address, at most */
        size_t bytes;       /* … */
        size_t bytes_total; /* held in all */
        WakeRate per_source, total;
        unsigned sources; /* remembered */
} WakeLimits;

/* clang-format off */
#define WAKE_LIMITS_DEFAULT                                                    \
        ((WakeLimits) {                                                        \
                .packets = 64,                                                 \
                .bytes = 128 << 10,                                            \
                .bytes_total = 16 << 20,                                       \
                .per_source = { .burst = 16, .interval = UINT64_C(1000000) },  \
                .total = { .burst = 128, .interval = UINT64_C(20000) },        \
                .sources = 4096,                                               \
        })
/* clang-format on */

/* Counted since wake_new(). */
typedef struct WakeStatistics {
        uint64_t wakes;          /* handler calls */
        uint64_t held, injected; /* packets */
        /* packets dropped: */
        uint64_t malformed;
        uint64_t multicast;  /* what the kernel says on every device */
        uint64_t unknown;    /* for an address that is not armed */
        uint64_t refused;    /* by the policy */
        uint64_t limited;    /* by a rate */
        uint64_t overflowed; /* by a bound of the queues */
        uint64_t discarded;  /* held, and then wake_rest() or wake_disarm() */
        uint64_t failed;     /* the kernel did not take them back */
} WakeStatistics;

/* The VM armed with vm is to be woken. Called once, until the address was rested, or released and armed
 * again; a VM with two addresses can be reported by each. The packet is held already. May call anything here
 * but wake_free(). */
typedef void (*wake_handler_t)(
                const struct in6_addr *address, const PacketInfo *packet, void *vm, void *userdata);

/* tun: the device that packets for sleeping VMs come out of. It and its routes vanish with the fd; the fd
 * may be kept over a restart of the daemon. raw4, raw6: where they go on. Not back through the device: a
 * firewall that checks the way back (firewalld does, by default) or the kernel's rp_filter would drop what
 * comes in there. They passed everybody's rules for forwarding on their way here. */
typedef struct WakeFds {
        int tun, raw4, raw6;
} WakeFds;

#define WAKE_FDS_NONE ((WakeFds){ -EBADF, -EBADF, -EBADF })

void wake_fds_done(WakeFds *fds);

/* Makes the device, up, non-blocking, with the TAPs' gateway 169.254.1.1/32 (so that this host speaks to a
 * VM with the same address, whether it sleeps or not) and their MTU (a larger one would let people send what
 * does not fit them). fds->tun may hold one from before. Needs CAP_NET_ADMIN and CAP_NET_RAW. -EBUSY:
 * somebody has the device open. */
int wake_open(const char *name, unsigned mtu, WakeFds *fds);

/* Takes the fds on success, leaving none. */
int wake_new(WakeFds *fds, const WakeLimits *limits, wake_handler_t handler, void *userdata, Wake **ret);
Wake *wake_free(Wake *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(Wake *, wake_free);

/* Readable when there is something to do for wake_dispatch(). */
int wake_fd(const Wake *w);

/* Reads some packets. Their number, or -errno (the device is gone, -EBADFD). */
int wake_dispatch(Wake *w);

/* The address belongs to a VM that falls asleep. Again for one that is armed: with this policy from now on;
 * one that was released sleeps again. -EINVAL for an address that is none of a VM. */
int wake_arm(Wake *w, const struct in6_addr *address, const WakePolicy *policy, void *vm);

/* The VM runs and its route is moved: what is held goes to it, also what is in the device still; then the
 * few that were under way to the device, for which it stays known until wake_disarm() or wake_arm(). Returns
 * the number of packets, or -ENOENT. Also right for a VM that was woken by something else. May call the
 * handler for other addresses. */
int wake_release(Wake *w, const struct in6_addr *address);

/* It could not be woken, it sleeps on: what is held is dropped, the next packet calls the handler again. */
int wake_rest(Wake *w, const struct in6_addr *address);

/* The address is nobody's now. Unknown is success. */
void wake_disarm(Wake *w, const struct in6_addr *address);

const WakeStatistics *wake_statistics(const Wake *w);

/* One packet as if it had been read at that time (CLOCK_MONOTONIC). For wake_dispatch(), tests and the
 * fuzzer. */
void wake_process_packet(Wake *w, const void *data, size_t size, uint64_t now);
