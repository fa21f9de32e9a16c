/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/boot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "guest-init/command.h"
#include "guest-init/console-shell.h"
#include "guest-init/identity.h"
#include "guest-init/init.h"
#include "guest-init/network.h"
#include "guest-init/power.h"

void boot_set_clock(uint64_t realtime_usec) {
        struct timespec ts = {
                .tv_sec = (time_t) (realtime_usec / USEC_PER_SEC),
                .tv_nsec = (long) (realtime_usec % USEC_PER_SEC * NSEC_PER_USEC),
        };

        if (clock_settime(CLOCK_REALTIME, &ts) < 0)
                guest_log("Cannot set the clock: %m");
}

/* For programs that ask: what fails is no reason to keep somebody from their machine, whose disk may just be full. */
static void apply_identity(const BootConfig *c) {
        _cleanup_close_ int root_fd = -EBADF;
        const char *file = "";
        int r;

        if (c->hostname && sethostname(c->hostname, strlen(c->hostname)) < 0)
                guest_log("Cannot set the host name: %m");
        root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = root_fd < 0 ? negative_errno() : identity_write_files(root_fd, c->hostname, &c->network, &file);
        if (r < 0)
                guest_log("Cannot write /%s: %s", file, strerror(-r));
}

static void fail(Guest *g, int error, uint32_t status, const char *why) {
        GpWriter *w = guest_writer(GP_BOOT_FAILED, 0);

        gp_writer_string(w, GP_FIELD_MESSAGE, why ?: strerror(-error));
        gp_writer_u32(w, GP_FIELD_ERRNO, (uint32_t) -error);
        if (status > 0)
                gp_writer_u32(w, GP_FIELD_STATUS, status);
        guest_send(g, w);
        guest_log("Boot failed: %s", why ?: strerror(-error));
        power_begin(g, GP_POWEROFF);
}

void boot_failed(Guest *g, int error, const char *why) {
        fail(g, error, 0, why);
}

void boot_failed_command(Guest *g, int error, const char *why) {
        fail(g, error, error == -ENOENT ? 127 : 126, why); /* as shells have it */
}

void boot_ready(Guest *g) {
        GpWriter *w = guest_writer(GP_READY, 0);

        if (g->phase != GP_PHASE_BOOTING)
                return; /* shut down in the meantime */

        g->phase = GP_PHASE_READY;
        gp_writer_u64(w, GP_FIELD_BOOT_USEC, now_usec(CLOCK_BOOTTIME));
        guest_send(g, w);
        if (g->config.console_shell)
                console_shell_offer(g);
}

/* An image may name a directory that nothing in it makes; like other runtimes we make it, root's, whether a command of
 * the VM's own runs there or one of a caller. What fails is told by the chdir() that follows. */
static void make_directory(const char *path) {
        _cleanup_free_ char *copy = strdup(path);

        for (char *p = copy; p && (p = strchr(p + 1, '/'));) {
                *p = 0;
                (void) mkdir(copy, 0755);
                *p = '/';
        }
        (void) mkdir(path, 0755);
}

void boot(Guest *g, const uint8_t *payload, size_t n) {
        _cleanup_free_ char *why = NULL;
        BootConfig *c = &g->config;
        int r;

        if (g->phase != GP_PHASE_WAITING)
                return;
        g->phase = GP_PHASE_BOOTING;

        r = boot_config_parse(payload, n, c);
        if (r < 0)
                return boot_failed(g, r, r == -ENODATA ? "BOOT names no root disk" : "Malformed BOOT");

        if (c->realtime > 0)
                boot_set_clock(c->realtime);
        r = root_switch(&g->root, c->root_device, c->overlay_device, &why);
        if (r < 0)
                return boot_failed(g, r, why);
        apply_identity(c);
        r = network_up(&c->network, &why);
        if (r < 0)
                return boot_failed(g, r, why);
        if (c->cwd)
                make_directory(c->cwd);

        if (!c->args)
                return boot_ready(g);
        r = c->init && init_is_for_machines(g) ? init_start(g, &why) : command_start(g, &why);
        if (r < 0)
                boot_failed(g, r, why);
}
