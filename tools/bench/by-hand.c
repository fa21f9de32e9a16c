/* SPDX-License-Identifier: Apache-2.0 */

/* The floor of starting a guest: the command line of a VMM that runs, executed again by hand, with the same files and
 * with sockets of our own, and the least that brings the guest's agent to "ready". */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "bench.h"
#include "guest-protocol/guest-protocol.h"
#include "storage/overlay.h"

#define BOOT_TIMEOUT_MSEC 120000
#define MONITOR_TIMEOUT_MSEC 20000
#define FIRST_SAFE_FD 64
#define OVERLAY_NAME ".bench-overlay.img"

/* "…before NUMBER…" in one of the arguments: the number. */
static int number_after(char *const *argv, const char *with, const char *before) {
        STRV_FOREACH(a, argv) {
                const char *p = strstr(*a, with) ? strstr(*a, before) : NULL;

                if (p)
                        return atoi(p + strlen(before));
        }
        return -1;
}

static int open_of_process(pid_t pid, int fd) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%i/fd/%i", pid, fd);
        return open(path, O_RDONLY | O_CLOEXEC);
}

/* QEMU holds its disks by other numbers than it was given: by name. */
static int open_by_suffix(pid_t pid, const char *suffix) {
        char path[64], target[512];

        for (int fd = 3; fd < 256; fd++) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/%i/fd/%i", pid, fd);
                n = readlink(path, target, sizeof(target) - 1);
                if (n < (ssize_t) strlen(suffix))
                        continue;
                target[n] = 0;
                if (streq(target + n - strlen(suffix), suffix))
                        return open_of_process(pid, fd);
        }
        return -ENOENT;
}

static int read_argv(pid_t pid, char ***ret) {
        _cleanup_free_ char *text = NULL;
        char path[64];
        size_t n;
        int r;

        snprintf(path, sizeof(path), "/proc/%i/cmdline", pid);
        r = read_full_file(AT_FDCWD, path, 65536, &text, &n);
        for (size_t k = 0; r >= 0 && k < n; k += strlen(text + k) + 1)
                r = strv_extend(ret, text + k);
        return r;
}

int pattern_new(pid_t pid, Pattern *ret) {
        Pattern p = { .kernel_fd = -EBADF, .initrd_fd = -EBADF, .root_fd = -EBADF };
        int r;

        r = read_argv(pid, &p.argv);
        if (r < 0 || !p.argv)
                return complain(r, "cannot read the command line of process %i", pid);
        p.mock = strstr(p.argv[0], "mock") != NULL;
        p.monitor = p.mock ? number_after(p.argv, "monitor=", "monitor=") : number_after(p.argv, "id=monitor", "fd=");
        p.console = p.mock ? number_after(p.argv, "console=", "console=") : number_after(p.argv, "id=console", "fd=");
        p.agent = p.mock ? number_after(p.argv, "agent=", "agent=") : number_after(p.argv, "id=agent", "fd=");
        p.kernel = p.initrd = p.root = p.overlay = -1;
        if (!p.mock) {
                p.root = number_after(p.argv, "node-name=root", "/dev/fdset/");
                p.overlay = number_after(p.argv, "node-name=overlay", "/dev/fdset/");
                STRV_FOREACH(a, p.argv) {
                        if (streq(*a, "-kernel") && a[1])
                                p.kernel = atoi(a[1] + strlen("/proc/self/fd/"));
                        if (streq(*a, "-initrd") && a[1])
                                p.initrd = atoi(a[1] + strlen("/proc/self/fd/"));
                }
                p.kernel_fd = open_of_process(pid, p.kernel);
                p.initrd_fd = open_of_process(pid, p.initrd);
                p.root_fd = open_by_suffix(pid, ".squashfs");
                if (p.kernel_fd < 0 || p.initrd_fd < 0 || p.root_fd < 0)
                        return complain(-errno, "cannot open the kernel, initrd or root of process %i", pid);
        }
        *ret = p;
        return 0;
}

void pattern_done(Pattern *p) {
        safe_close(p->kernel_fd);
        safe_close(p->initrd_fd);
        safe_close(p->root_fd);
        strv_free(p->argv);
}

/* A disk as the daemon makes it, next to the VMs' own; made before the clock runs. */
static int make_overlay(void) {
        _cleanup_close_ int template_fd = -EBADF, dir_fd = -EBADF;
        char name[256] = "";
        int fd, r;
        FILE *f;

        f = popen("ls -S " STATEDIR "/templates | head -n 1", "r");
        if (!f || fscanf(f, "%200s", name) != 1)
                name[0] = 0;
        if (f)
                (void) pclose(f);
        dir_fd = open(STATEDIR "/templates", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        template_fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (template_fd < 0)
                return complain(-errno, "no template of a disk");
        (void) unlinkat(dir_fd, OVERLAY_NAME, 0);
        fd = overlay_clone(template_fd, dir_fd, OVERLAY_NAME);
        r = fd < 0 ? complain(fd, "cannot make a disk") : fd;
        (void) unlinkat(dir_fd, OVERLAY_NAME, 0);
        return r;
}

static int hand(int fd, int number) {
        if (number < 0)
                return 0;
        return dup2(fd, number) < 0 ? -errno : 0;
}

static void child(const Pattern *p, int overlay, const int theirs[3]) {
        const int from[] = { p->kernel_fd, p->initrd_fd, p->root_fd, overlay, theirs[0], theirs[1], theirs[2] };
        const int to[] = { p->kernel, p->initrd, p->root, p->overlay, p->monitor, p->console, p->agent };
        int safe[ELEMENTSOF(from)], null;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t k = 0; k < ELEMENTSOF(from); k++)
                safe[k] = from[k] < 0 ? -1 : fcntl(from[k], F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
        null = open("/dev/null", O_RDWR);
        (void) dup2(null, 0);
        (void) dup2(null, 1);
        (void) close_range(3, FIRST_SAFE_FD - 1, 0);
        for (size_t k = 0; k < ELEMENTSOF(from); k++)
                (void) hand(safe[k], to[k]);
        (void) execv(p->argv[0], p->argv);
        _exit(127);
}

static int agent_frame(Vmm *v, uint8_t *buf, size_t *n, GpType *ret) {
        for (;;) {
                struct pollfd p[] = { { .fd = v->agent, .events = POLLIN }, { .fd = v->console, .events = POLLIN } };
                const uint8_t *payload;
                char console[4096];
                GpHeader h;
                size_t size;
                ssize_t k;
                int r;

                r = gp_frame_next(buf, *n, &h, &payload, &size);
                if (r < 0)
                        return r;
                if (r > 0) {
                        memmove(buf, buf + size, *n - size);
                        *n -= size;
                        *ret = (GpType) h.type;
                        return 0;
                }
                if (poll(p, 2, BOOT_TIMEOUT_MSEC) <= 0)
                        return -ETIME;
                if (p[1].revents && read(v->console, console, sizeof(console)) <= 0)
                        return -EPIPE;
                if (!p[0].revents)
                        continue;
                k = read(v->agent, buf + *n, 2 * GP_FRAME_MAX - *n);
                if (k <= 0)
                        return k < 0 ? -errno : -EPIPE;
                *n += (size_t) k;
        }
}

static int send_boot(Vmm *v) {
        static GpWriter w;
        size_t n;
        int r;

        gp_writer_init(&w, GP_BOOT, 0);
        gp_writer_string(&w, GP_FIELD_HOSTNAME, "by-hand");
        gp_writer_string(&w, GP_FIELD_ROOT_DEVICE, "serial:root");
        gp_writer_string(&w, GP_FIELD_OVERLAY_DEVICE, "serial:overlay");
        gp_writer_u64(&w, GP_FIELD_REALTIME, now_usec(CLOCK_REALTIME));
        gp_writer_u32(&w, GP_FIELD_CONSOLE_SHELL, 1);
        r = gp_writer_finish(&w, &n);
        return r < 0 ? r : write_all(v->agent, w.buf, n);
}

static int wait_ready(Vmm *v, uint64_t start) {
        static uint8_t buf[2 * GP_FRAME_MAX];
        size_t n = 0;

        for (;;) {
                GpType type;
                int r;

                r = agent_frame(v, buf, &n, &type);
                if (r >= 0 && type == GP_HELLO) {
                        report("by-hand-hello", now_usec(CLOCK_MONOTONIC) - start);
                        r = send_boot(v);
                }
                if (r < 0)
                        return complain(r, "the VMM by hand");
                if (type == GP_READY)
                        return 0;
        }
}

int vmm_boot(const Pattern *p, Vmm *ret) {
        _cleanup_close_ int overlay = -EBADF;
        int pairs[3][2], theirs[3], r;
        uint64_t start;

        *ret = (Vmm) { .mock = p->mock };
        if (p->overlay >= 0) {
                overlay = make_overlay();
                if (overlay < 0)
                        return overlay;
        }
        start = now_usec(CLOCK_MONOTONIC);
        for (int k = 0; k < 3; k++) {
                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[k]) < 0)
                        return -errno;
                theirs[k] = pairs[k][1];
        }
        ret->monitor = pairs[0][0];
        ret->console = pairs[1][0];
        ret->agent = pairs[2][0];
        ret->pid = fork();
        if (ret->pid < 0)
                return -errno;
        if (ret->pid == 0)
                child(p, overlay, theirs);
        for (int k = 0; k < 3; k++)
                safe_close(theirs[k]);
        r = wait_ready(ret, start);
        if (r >= 0)
                report("by-hand", now_usec(CLOCK_MONOTONIC) - start);
        return r;
}

void vmm_done(Vmm *v) {
        if (v->pid > 0) {
                (void) kill(v->pid, SIGKILL);
                (void) waitpid(v->pid, NULL, 0);
        }
        safe_close(v->monitor);
        safe_close(v->console);
        safe_close(v->agent);
        *v = (Vmm) { .monitor = -EBADF, .console = -EBADF, .agent = -EBADF };
}

/* The next line of the monitor that holds the word. */
static int monitor_wait(Vmm *v, const char *word) {
        for (;;) {
                struct pollfd p = { .fd = v->monitor, .events = POLLIN };
                char *end;
                ssize_t n;

                while ((end = memchr(v->line, '\n', v->n_line))) {
                        bool found;

                        *end = 0;
                        found = strstr(v->line, word);
                        v->n_line -= (size_t) (end + 1 - v->line);
                        memmove(v->line, end + 1, v->n_line);
                        if (found)
                                return 0;
                }
                if (v->n_line == sizeof(v->line) || poll(&p, 1, MONITOR_TIMEOUT_MSEC) <= 0)
                        return complain(-ETIME, "no '%s' from the monitor", word);
                n = read(v->monitor, v->line + v->n_line, sizeof(v->line) - v->n_line);
                if (n <= 0)
                        return complain(-EPIPE, "the monitor");
                v->n_line += (size_t) n;
        }
}

int vmm_greet(Vmm *v) {
        int r;

        if (v->mock)
                return monitor_wait(v, "mock");
        r = monitor_wait(v, "QMP");
        if (r >= 0)
                r = write_all(v->monitor, "{\"execute\":\"qmp_capabilities\"}\n", 31);
        return r < 0 ? r : monitor_wait(v, "\"return\"");
}

int vmm_pause(Vmm *v, bool pause) {
        _cleanup_free_ char *text = NULL;
        int r;

        text = v->mock ? strprintf("%u %s\n", ++v->id, pause ? "pause" : "resume") :
                         strprintf("{\"execute\":\"%s\"}\n", pause ? "stop" : "cont");
        r = text ? write_all(v->monitor, text, strlen(text)) : -ENOMEM;
        return r < 0 ? r : monitor_wait(v, v->mock ? " ok" : "\"return\"");
}
