/* SPDX-License-Identifier: Apache-2.0 */

/* The agent channel from both ends: frames and fields as the host reads them from a hostile guest, and what
 * hero-init makes of BOOT and EXEC. The channel must cut the bytes into the same frames however they arrive. */

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/strv.h"
#include "guest-init/boot-config.h"
#include "guest-init/channel.h"
#include "guest-init/exec-request.h"
#include "guest-init/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
        if (!ok)
                abort();
}

/* What was read is what would be written. */
static void check_route(const GpReader *r, const GpRoute *route) {
        static GpWriter w;
        GpReader again;
        size_t n;

        gp_writer_init(&w, GP_BOOT, 0);
        gp_writer_route(&w, GP_FIELD_ROUTE, route);
        check(gp_writer_finish(&w, &n) == 0);
        gp_reader_init(&again, w.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE);
        check(gp_reader_next(&again) == 1 && again.size == r->size && memcmp(again.value, r->value, r->size) == 0);
}

static void check_network(const NetworkConfig *c) {
        check(c->n_addresses <= GP_ADDRESSES_MAX && c->n_routes <= GP_ROUTES_MAX);
        check(c->n_dns_servers <= GP_DNS_SERVERS_MAX && strv_length(c->hosts) <= GP_HOSTS_MAX);
        check(c->mtu == 0 || (c->mtu >= GP_MTU_MIN && c->mtu <= GP_MTU_MAX));
        for (size_t i = 0; i < c->n_addresses; i++)
                check(gp_family_size(c->addresses[i].address.family) > 0);
        STRV_FOREACH(i, c->hosts)
                check(**i && !strpbrk(*i, "\r\n"));
}

static void read_fields(const uint8_t *payload, size_t n) {
        const uint8_t *end = payload + n;
        GpReader r;

        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0) {
                GpStreamState state;
                GpAddress address;
                GpPrefix prefix;
                GpRoute route;
                char *s = NULL;
                uint64_t u64;
                uint32_t u32;

                check(r.value >= payload && r.value <= end && r.size <= (size_t) (end - r.value));
                check((gp_reader_u32(&r, &u32) >= 0) == (r.size == 4));
                check((gp_reader_u64(&r, &u64) >= 0) == (r.size == 8));
                check((gp_reader_stream_state(&r, &state) >= 0) == (r.size == 48));
                check((gp_reader_address(&r, &address) >= 0) == (r.size == 4 || r.size == 16));
                if (gp_reader_prefix(&r, &prefix) >= 0)
                        check(prefix.length <= 8 * gp_family_size(prefix.address.family));
                if (gp_reader_route(&r, &route) >= 0)
                        check_route(&r, &route);
                if (gp_reader_string(&r, &s) >= 0)
                        check(strlen(s) == r.size);
                free(s);
        }
}

static void parse_requests(const uint8_t *payload, size_t n) {
        ExecRequest e;
        BootConfig c;

        if (boot_config_parse(payload, n, &c) >= 0) {
                check(c.root_device);
                check_network(&c.network);
                boot_config_done(&c);
        }
        if (exec_request_parse(payload, n, &e) >= 0) {
                User u;

                check(e.args && e.args[0]);
                if (user_parse(e.args[0], e.args[0], e.user, &u) >= 0) {
                        check(u.home && u.shell && u.n_groups >= 1 && u.n_groups <= USER_GROUPS_MAX);
                        check(u.uid != (uid_t) -1 && u.gid != (gid_t) -1);
                        user_done(&u);
                }
                exec_request_done(&e);
        }
}

/* How many frames there are, and whether nonsense ended them. */
static size_t read_frames(const uint8_t *data, size_t size, bool *ret_broken) {
        size_t frames = 0, at = 0, n;
        const uint8_t *payload;
        GpHeader h;
        int r;

        while ((r = gp_frame_next(data + at, size - at, &h, &payload, &n)) > 0) {
                uint8_t head[GP_HEADER_SIZE];

                check(n == GP_HEADER_SIZE + h.length && n <= size - at && n <= GP_FRAME_MAX);
                gp_header_write(head, &h);
                check(memcmp(head, data + at, sizeof(head)) == 0);
                read_fields(payload, h.length);
                parse_requests(payload, h.length);
                at += n;
                frames++;
        }
        *ret_broken = r < 0;
        return frames;
}

static size_t count_from_channel(Channel *c, bool *broken) {
        const uint8_t *payload;
        size_t frames = 0;
        GpHeader h;
        int r;

        channel_events(c, EPOLLIN);
        while ((r = channel_next(c, &h, &payload)) > 0)
                frames++;
        if (r < 0) {
                check(!*broken);
                *broken = true;
        }
        return frames;
}

static void read_in_pieces(const uint8_t *data, size_t size, size_t piece) {
        bool broken = false, expected_broken;
        size_t frames = 0;
        Channel c;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return;
        channel_init(&c, fds[1]);
        for (size_t at = 0; at < size; at += piece) {
                if (write(fds[0], data + at, MIN2(piece, size - at)) < 0)
                        abort();
                frames += count_from_channel(&c, &broken);
        }
        check(frames == read_frames(data, size, &expected_broken));
        check(broken == expected_broken);
        channel_done(&c);
        safe_close(fds[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;
        /* The first byte says in pieces of what size it comes; few of them, for speed. */
        read_in_pieces(data + 1, size - 1, size / (data[0] % 16 + 1) + 1);
        parse_requests(data + 1, size - 1);
        return 0;
}
