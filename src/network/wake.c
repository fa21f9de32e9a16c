/* SPDX-License-Identifier: Apache-2.0 */

/* The addresses of sleeping VMs and the packets held for them, on behalf of hero-computed. */

#include "network/wake.h"

#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"

#define PACKETS_PER_DISPATCH 64
/* In wake_release(): what the device can hold. */
#define PACKETS_PER_DRAIN 4096
/* Under way to the device while the route moved. More than that is a route that did not move: they would go
 * round. */
#define STRAYS_MAX 64

typedef struct Held {
        STAILQ_ENTRY(Held) next;
        size_t size;
        uint8_t data[];
} Held;

typedef enum SleeperState {
        SLEEPER_ASLEEP, /* the next packet that may calls the handler */
        SLEEPER_WAKING, /* packets are held */
        SLEEPER_AWAKE,  /* strays are passed on */
} SleeperState;

typedef struct Sleeper {
        struct in6_addr address;
        WakePolicy policy;
        SleeperState state;
        void *vm;
        STAILQ_HEAD(, Held) queue;
        unsigned packets;
        size_t bytes;
        unsigned strays;
        UT_hash_handle hh;
} Sleeper;

struct Wake {
        WakeFds fds;
        WakeLimits limits;
        WakeLimiter *limiter;
        wake_handler_t handler;
        void *userdata;
        Sleeper *sleepers;
        size_t bytes;
        bool draining;
        WakeStatistics statistics;
};

int wake_new(WakeFds *fds, const WakeLimits *limits, wake_handler_t handler, void *userdata, Wake **ret) {
        Wake *w;
        int r;

        w = new0(Wake, 1);
        if (!w)
                return -ENOMEM;
        r = wake_limiter_new(limits->per_source, limits->total, limits->sources, &w->limiter);
        if (r < 0) {
                free(w);
                return r;
        }
        w->fds = *fds;
        *fds = WAKE_FDS_NONE;
        w->limits = *limits;
        w->handler = handler;
        w->userdata = userdata;
        *ret = w;
        return 0;
}

static Held *take_first(Wake *w, Sleeper *s) {
        Held *h = STAILQ_FIRST(&s->queue);

        if (!h)
                return NULL;
        STAILQ_REMOVE_HEAD(&s->queue, next);
        s->packets--;
        s->bytes -= h->size;
        w->bytes -= h->size;
        return h;
}

static void discard_held(Wake *w, Sleeper *s) {
        for (Held *h; (h = take_first(w, s)); free(h))
                w->statistics.discarded++;
}

static void sleeper_free(Wake *w, Sleeper *s) {
        discard_held(w, s);
        HASH_DEL(w->sleepers, s);
        free(s);
}

Wake *wake_free(Wake *w) {
        Sleeper *s, *tmp;

        if (!w)
                return NULL;
        HASH_ITER(hh, w->sleepers, s, tmp)
                sleeper_free(w, s);
        wake_limiter_free(w->limiter);
        wake_fds_done(&w->fds);
        return mfree(w);
}

int wake_fd(const Wake *w) {
        return w->fds.tun;
}

const WakeStatistics *wake_statistics(const Wake *w) {
        return &w->statistics;
}

static Sleeper *find(Wake *w, const struct in6_addr *address) {
        Sleeper *s;

        HASH_FIND(hh, w->sleepers, address, sizeof(*address), s);
        return s;
}

static bool address_is_valid(const struct in6_addr *a) {
        return !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_MULTICAST(a) &&
               !IN6_IS_ADDR_LINKLOCAL(a);
}

int wake_arm(Wake *w, const struct in6_addr *address, const WakePolicy *policy, void *vm) {
        Sleeper *s;

        if (!address_is_valid(address))
                return -EINVAL;
        s = find(w, address);
        if (!s) {
                s = new0(Sleeper, 1);
                if (!s)
                        return -ENOMEM;
                s->address = *address;
                STAILQ_INIT(&s->queue);
                HASH_ADD(hh, w->sleepers, address, sizeof(s->address), s);
        }
        s->policy = *policy;
        s->vm = vm;
        if (s->state == SLEEPER_AWAKE)
                s->state = SLEEPER_ASLEEP;
        return 0;
}

int wake_rest(Wake *w, const struct in6_addr *address) {
        Sleeper *s = find(w, address);

        if (!s)
                return -ENOENT;
        discard_held(w, s);
        s->state = SLEEPER_ASLEEP;
        return 0;
}

void wake_disarm(Wake *w, const struct in6_addr *address) {
        Sleeper *s = find(w, address);

        if (s)
                sleeper_free(w, s);
}

/* The packet as it is, routed anew. It was parsed before. */
static ssize_t send_raw(const Wake *w, const uint8_t *data, size_t size) {
        struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
        struct sockaddr_in to4 = { .sin_family = AF_INET };

        if (data[0] >> 4 == 6) {
                memcpy(&to6.sin6_addr, data + 24, sizeof(to6.sin6_addr));
                return sendto(w->fds.raw6, data, size, MSG_DONTWAIT, (struct sockaddr *) &to6, sizeof(to6));
        }
        memcpy(&to4.sin_addr, data + 16, sizeof(to4.sin_addr));
        return sendto(w->fds.raw4, data, size, MSG_DONTWAIT, (struct sockaddr *) &to4, sizeof(to4));
}

static void inject(Wake *w, const void *data, size_t size) {
        if (send_raw(w, data, size) < 0)
                w->statistics.failed++;
        else
                w->statistics.injected++;
}

static void hold(Wake *w, Sleeper *s, const void *data, size_t size) {
        Held *h = NULL;

        if (s->packets < w->limits.packets && size <= w->limits.bytes &&
                        s->bytes <= w->limits.bytes - size && size <= w->limits.bytes_total &&
                        w->bytes <= w->limits.bytes_total - size)
                h = malloc(sizeof(Held) + size);
        if (!h) {
                w->statistics.overflowed++;
                return;
        }
        h->size = size;
        memcpy(h->data, data, size);
        STAILQ_INSERT_TAIL(&s->queue, h, next);
        s->packets++;
        s->bytes += size;
        w->bytes += size;
        w->statistics.held++;
}

/* In the subnet of the VMs: this host or another VM, with an address that the filter has checked. */
static bool is_neighbour(const PacketInfo *i) {
        return memcmp(&i->source, &i->destination, 8) == 0;
}

/* For one that is asleep. */
static void wake_up(Wake *w, Sleeper *s, const PacketInfo *i, const void *data, size_t size, uint64_t now) {
        struct in6_addr address = s->address;

        if (!wake_policy_allows(&s->policy, i)) {
                w->statistics.refused++;
                return;
        }
        if (!wake_limiter_take(w->limiter, &i->source, is_neighbour(i), now)) {
                w->statistics.limited++;
                return;
        }
        s->state = SLEEPER_WAKING;
        hold(w, s, data, size);
        w->statistics.wakes++;
        /* The sleeper may be gone afterwards. */
        w->handler(&address, i, s->vm, w->userdata);
}

static void pass_stray(Wake *w, Sleeper *s, const void *data, size_t size) {
        if (s->strays == 0) {
                w->statistics.unknown++;
                return;
        }
        s->strays--;
        inject(w, data, size);
}

void wake_process_packet(Wake *w, const void *data, size_t size, uint64_t now) {
        PacketInfo i;
        Sleeper *s;

        if (packet_parse(data, size, &i) < 0) {
                w->statistics.malformed++;
                return;
        }
        if (IN6_IS_ADDR_MULTICAST(&i.destination)) {
                w->statistics.multicast++;
                return;
        }
        s = find(w, &i.destination);
        if (!s) {
                w->statistics.unknown++;
                return;
        }
        switch (s->state) {
        case SLEEPER_ASLEEP:
                wake_up(w, s, &i, data, size, now);
                break;
        case SLEEPER_WAKING:
                hold(w, s, data, size);
                break;
        case SLEEPER_AWAKE:
                pass_stray(w, s, data, size);
                break;
        }
}

static int read_packets(Wake *w, unsigned max) {
        static uint8_t buf[UINT16_MAX + 1];
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        unsigned count = 0;

        while (count < max) {
                ssize_t n;

                n = read(w->fds.tun, buf, sizeof(buf));
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return errno == EAGAIN ? (int) count : negative_errno();
                }
                if (n == 0) /* no device says this */
                        return -ENODEV;
                count++;
                wake_process_packet(w, buf, (size_t) n, now);
        }
        return (int) count;
}

int wake_dispatch(Wake *w) {
        return read_packets(w, PACKETS_PER_DISPATCH);
}

int wake_release(Wake *w, const struct in6_addr *address) {
        Sleeper *s = find(w, address);
        int count = 0;

        if (!s)
                return -ENOENT;
        if (s->state == SLEEPER_ASLEEP)
                s->state = SLEEPER_WAKING;
        /* The handler may be called for another one and release that, too: the device is being read already.
         */
        if (!w->draining) {
                w->draining = true;
                (void) read_packets(w, PACKETS_PER_DRAIN);
                w->draining = false;
        }
        s = find(w, address);
        if (!s)
                return -ENOENT;
        for (Held *h; (h = take_first(w, s)); free(h)) {
                inject(w, h->data, h->size);
                count++;
        }
        if (s->state != SLEEPER_AWAKE)
                s->strays = STRAYS_MAX;
        s->state = SLEEPER_AWAKE;
        return count;
}
