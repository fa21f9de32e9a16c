/* SPDX-License-Identifier: Apache-2.0 */

/* hero-init: PID 1 of the guest. One epoll loop: the agent channel, the children, the console. It starts in the
 * initramfs, becomes the init of the image, and must never end; unless the image brings an init of its own (init.h). */

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"
#include "guest-init/agent.h"
#include "guest-init/power.h"
#include "guest-init/session.h"
#include "guest-init/signals.h"

#define ROUNDS_MAX 8u                         /* of moving data before events are looked at again */
#define FAREWELL_USEC (500 * USEC_PER_MSEC)   /* for the host to read the last frames */

void guest_log(const char *format, ...) {
        PROTECT_ERRNO;
        char text[512];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        dprintf(STDERR_FILENO, "hero-init: %s\n", text);
}

GpWriter *guest_writer(GpType type, uint32_t stream) {
        static GpWriter w;

        gp_writer_init(&w, type, stream);
        return &w;
}

void guest_send(Guest *g, GpWriter *w) {
        int r;

        r = channel_send(&g->channel, w);
        if (r < 0)
                guest_log("A message to the host was lost: %s", strerror(-r));
}

static int setup(Guest *g) {
        int r, k;

        /* A console that nobody reads must not stop PID 1; what does not fit is lost. */
        (void) fd_nonblock(STDERR_FILENO, true);
        r = mounts_early();
        if (r < 0)
                return r;
        g->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (g->epoll_fd < 0)
                return negative_errno();
        (void) signal(SIGPIPE, SIG_IGN);
        (void) reboot(RB_DISABLE_CAD);
        r = signals_watch(g);
        if (r < 0)
                return r;
        r = agent_listen(g);
        if (r < 0)
                return r;

        /* HELLO goes out as soon as it can: while the host makes up its answer the other modules are loaded. */
        r = modules_load_port();
        agent_find_port(g);
        agent_flush(g);
        k = modules_load_devices();
        if (r < 0 || k < 0)
                guest_log("Not every module could be loaded: %s", strerror(r < 0 ? -r : -k));
        agent_find_port(g);
        return 0;
}

/* Moves everything that can move. True when there is more to do at once. */
static bool pump(Guest *g) {
        bool moved = true;

        for (unsigned i = 0; i < ROUNDS_MAX && moved; i++) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);

                moved = agent_pump(g);
                if (sessions_pump(g, now))
                        moved = true;
                power_pump(g, now);
                agent_flush(g);
        }
        return moved;
}

static uint64_t time_to_wait(Guest *g, bool more) {
        uint64_t deadline, now;

        if (more)
                return 0;
        deadline = MIN2(sessions_deadline(g), power_deadline(g));
        if (deadline == USEC_INFINITY)
                return USEC_INFINITY;
        now = now_usec(CLOCK_MONOTONIC);
        return deadline > now ? deadline - now : 0;
}

/* The host should read what was said last, if it reads at all. */
static void farewell(Guest *g) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + FAREWELL_USEC, now;

        agent_flush(g);
        while (g->port.fd >= 0 && buffer_size(&g->channel.out) > 0 &&
                        (now = now_usec(CLOCK_MONOTONIC)) < until) {
                if (event_run(g->epoll_fd, until - now) < 0)
                        return;
                agent_flush(g);
        }
}

int main(int argc, char **argv) {
        Guest g = {
                .argv0 = argv[0],
                .epoll_fd = -EBADF,
                .root = ROOT_NONE,
                .uevents = SOURCE_NONE,
                .signals = SOURCE_NONE,
                .port = SOURCE_NONE,
                .channel.fd = -EBADF,
                .command_error = SOURCE_NONE,
                .console = SOURCE_NONE,
                .sessions = TAILQ_HEAD_INITIALIZER(g.sessions),
        };
        int r;

        if (getpid() != 1) {
                fprintf(stderr, "hero-init is PID 1 of a virtual machine and nothing else.\n");
                return EXIT_FAILURE;
        }

        r = setup(&g);
        if (r < 0)
                guest_log("Cannot start: %s", strerror(-r));
        while (r >= 0 && g.power != POWER_DOWN) {
                bool more = pump(&g);

                if (g.power != POWER_DOWN)
                        r = event_run(g.epoll_fd, time_to_wait(&g, more));
        }
        if (r < 0)
                guest_log("The event loop failed: %s", strerror(-r));

        farewell(&g);
        power_off(&g);
}
