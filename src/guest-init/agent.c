/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "guest-init/boot.h"
#include "guest-init/power.h"
#include "guest-init/session.h"

#define PORTS "/sys/class/virtio-ports"
#define FRAMES_PER_ROUND 64u

/* Finding the port. */

static char *find_port(void) {
        char *found = NULL;
        struct dirent *de;
        DIR *d;

        d = opendir(PORTS);
        if (!d)
                return NULL;
        while (!found && (de = readdir(d))) {
                _cleanup_free_ char *path = NULL, *name = NULL;

                if (de->d_name[0] == '.')
                        continue;
                /* The name comes a moment after the port, with an event of its own. */
                path = strprintf("%s/name", de->d_name);
                if (path && read_full_file(dirfd(d), path, 256, &name, NULL) >= 0 &&
                                streq(strstrip(name), GP_PORT_NAME))
                        found = strprintf("/dev/%s", de->d_name);
        }
        closedir(d);
        return found;
}

static void on_port(Source *source, uint32_t events) {
        channel_events(&((Guest *) source->userdata)->channel, events);
}

static void say_hello(Guest *g) {
        GpWriter *w = guest_writer(GP_HELLO, 0);

        gp_writer_u32(w, GP_FIELD_VERSION, GP_VERSION_MAJOR << 16 | GP_VERSION_MINOR);
        guest_send(g, w);
}

void agent_find_port(Guest *g) {
        _cleanup_free_ char *path = NULL;
        int fd, r;

        if (g->port.fd >= 0)
                return;
        path = find_port();
        if (!path)
                return;
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return guest_log("Cannot open the agent port %s: %m", path);

        r = source_add(g->epoll_fd, &g->port, fd, EPOLLIN | EPOLLOUT, on_port, g);
        if (r < 0) {
                safe_close(fd);
                return guest_log("Cannot watch the agent port %s: %s", path, strerror(-r));
        }
        channel_init(&g->channel, fd);
        source_close(g->epoll_fd, &g->uevents);
        say_hello(g);
}

static void on_uevent(Source *source, uint32_t events) {
        Guest *g = source->userdata;
        char buf[8192];

        /* What they say does not matter (and some may have been lost): look again. */
        while (recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
                ;
        agent_find_port(g);
}

int agent_listen(Guest *g) {
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return negative_errno();
        r = source_add(g->epoll_fd, &g->uevents, fd, EPOLLIN, on_uevent, g);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        return 0;
}

/* Frames. */

static bool find_u64(const uint8_t *payload, size_t n, GpField tag, uint64_t *ret) {
        GpReader r;

        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0)
                if (r.tag == tag)
                        return gp_reader_u64(&r, ret) >= 0;
        return false;
}

static void on_resume(Guest *g, const uint8_t *payload, size_t n) {
        GpWriter *w = guest_writer(GP_RESUMED, 0);
        uint64_t nonce = 0;

        (void) find_u64(payload, n, GP_FIELD_NONCE, &nonce);
        gp_writer_u64(w, GP_FIELD_NONCE, nonce);
        gp_writer_u32(w, GP_FIELD_PHASE, g->phase);
        sessions_write_state(g, w);
        guest_send(g, w);
}

/* Counted as entropy, and used at once rather than when the kernel next comes to it. */
static void add_seed(const void *seed, size_t n) {
        struct {
                struct rand_pool_info info;
                uint8_t bytes[GP_SEED_SIZE];
        } pool = { .info = { .entropy_count = GP_SEED_SIZE * 8, .buf_size = GP_SEED_SIZE } };
        int fd;

        if (n != GP_SEED_SIZE)
                return;
        memcpy(pool.bytes, seed, n);
        fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        (void) ioctl(fd, RNDADDENTROPY, &pool);
        (void) ioctl(fd, RNDRESEEDCRNG);
        close(fd);
}

static void find_seed(const uint8_t *payload, size_t n) {
        GpReader r;

        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0)
                if (r.tag == GP_FIELD_SEED)
                        add_seed(r.value, r.size);
}

static void on_set_time(Guest *g, const uint8_t *payload, size_t n) {
        uint64_t realtime;

        if (!find_u64(payload, n, GP_FIELD_REALTIME, &realtime))
                return;
        boot_set_clock(realtime);
        find_seed(payload, n);
        guest_send(g, guest_writer(GP_TIME_SET, 0));
}

static void on_shutdown(Guest *g, const uint8_t *payload, size_t n) {
        uint32_t mode = GP_POWEROFF;
        GpReader r;

        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0)
                if (r.tag == GP_FIELD_MODE)
                        (void) gp_reader_u32(&r, &mode);

        guest_send(g, guest_writer(GP_STOPPING, 0));
        power_begin(g, mode == GP_REBOOT ? GP_REBOOT : GP_POWEROFF);
}

static void handle(Guest *g, const GpHeader *h, const uint8_t *payload) {
        /* Through an int: what arrives need not be one of the enumeration. */
        switch ((int) h->type) {
        case GP_BOOT:
                return boot(g, payload, h->length);
        case GP_EXEC:
                return session_exec(g, h->stream, payload, h->length);
        case GP_STDIN:
                return session_stdin(g, h->stream, payload, h->length);
        case GP_RESIZE:
                return session_resize(g, h->stream, payload, h->length);
        case GP_SIGNAL:
                return session_signal(g, h->stream, payload, h->length);
        case GP_CLOSE:
                return session_close(g, h->stream);
        case GP_WINDOW_UPDATE:
                return session_window(g, h->stream, payload, h->length);
        case GP_SHUTDOWN:
                return on_shutdown(g, payload, h->length);
        case GP_SET_TIME:
                return on_set_time(g, payload, h->length);
        case GP_RESUME:
                return on_resume(g, payload, h->length);
        default:
                /* From a newer host. */
                return;
        }
}

bool agent_pump(Guest *g) {
        if (g->port.fd < 0)
                return false;

        for (unsigned i = 0; i < FRAMES_PER_ROUND; i++) {
                const uint8_t *payload;
                GpHeader h;
                int r;

                r = channel_next(&g->channel, &h, &payload);
                if (r < 0)
                        guest_log("The agent channel is unusable: %s", strerror(-r));
                if (r <= 0)
                        return false;
                handle(g, &h, payload);
        }
        return true;
}

void agent_flush(Guest *g) {
        int r;

        if (g->port.fd < 0)
                return;
        r = channel_flush(&g->channel);
        if (r < 0)
                guest_log("Cannot write to the agent channel: %s", strerror(-r));
}
