/* SPDX-License-Identifier: Apache-2.0 */

/* The floor of starting a guest: the command line of a VMM that runs, executed again by hand, with the same files and
 * with sockets, a memory and a TAP of our own, and the least that brings the guest's agent to "ready", or a saved guest to
 * go on. */

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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
#include "hypervisor/memory-image.h"
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

static uint64_t size_of_memory(char *const *argv) {
        STRV_FOREACH(a, argv) {
                const char *p = strstr(*a, "id=mem,") ? strstr(*a, "size=") : NULL;

                if (p)
                        return strtoull(p + strlen("size="), NULL, 10) * 1024;
        }
        return 0;
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

/* A mock VMM by hand is only paused and resumed: it needs neither a memory that outlives it nor a TAP. */
static void drop_words(char **argv) {
        size_t n = 0;

        for (size_t i = 0; argv[i]; i++)
                if (startswith(argv[i], "memory=") || startswith(argv[i], "tap="))
                        free(argv[i]);
                else
                        argv[n++] = argv[i];
        argv[n] = NULL;
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
        if (p.mock)
                drop_words(p.argv);
        p.kernel = p.initrd = p.root = p.overlay = p.memory = p.tap = -1;
        if (!p.mock) {
                p.root = number_after(p.argv, "node-name=root", "/dev/fdset/");
                p.overlay = number_after(p.argv, "node-name=overlay", "/dev/fdset/");
                p.memory = number_after(p.argv, "id=mem,", "/proc/self/fd/");
                p.memory_size = size_of_memory(p.argv);
                p.tap = number_after(p.argv, "tap,id=", "fd=");
                STRV_FOREACH(a, p.argv) {
                        if (streq(*a, "-kernel") && a[1])
                                p.kernel = atoi(a[1] + strlen("/proc/self/fd/"));
                        if (streq(*a, "-initrd") && a[1])
                                p.initrd = atoi(a[1] + strlen("/proc/self/fd/"));
                }
                if (p.kernel >= 0) /* not where a saved guest was loaded */
                        p.kernel_fd = open_of_process(pid, p.kernel);
                if (p.initrd >= 0)
                        p.initrd_fd = open_of_process(pid, p.initrd);
                p.root_fd = open_by_suffix(pid, ".squashfs");
                if ((p.kernel >= 0 && p.kernel_fd < 0) || (p.initrd >= 0 && p.initrd_fd < 0) || p.root_fd < 0)
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

int bench_tap(const char *name) {
        struct ifreq q = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        int fd;

        (void) snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || ioctl(fd, TUNSETIFF, &q) < 0) {
                int r = complain(-errno, "cannot make a TAP");

                safe_close(fd);
                return r;
        }
        return fd;
}

static int make_memory(const Pattern *p) {
        int fd;

        fd = memfd_create("by-hand", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, (off_t) p->memory_size) < 0) {
                int r = complain(-errno, "cannot make a memory");

                safe_close(fd);
                return r;
        }
        return fd;
}

/* What is made for one VMM. */
typedef struct Things {
        int overlay, memory, tap;
} Things;

static void child(const Pattern *p, const Things *t, const int theirs[3]) {
        const int from[] = { p->kernel_fd, p->initrd_fd, p->root_fd, t->overlay, t->memory, t->tap, theirs[0], theirs[1], theirs[2] };
        const int to[] = { p->kernel, p->initrd, p->root, p->overlay, p->memory, p->tap, p->monitor, p->console, p->agent };
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

static int vmm_execute(const Pattern *p, const Things *t, Vmm *ret) {
        int pairs[3][2], theirs[3];

        *ret = (Vmm) { .mock = p->mock };
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
                child(p, t, theirs);
        for (int k = 0; k < 3; k++)
                safe_close(theirs[k]);
        return 0;
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

static int make_things(const Pattern *p, Things *ret) {
        *ret = (Things) { -EBADF, -EBADF, -EBADF };
        if (p->overlay >= 0)
                ret->overlay = make_overlay();
        if (p->memory >= 0)
                ret->memory = make_memory(p);
        if (p->tap >= 0)
                ret->tap = bench_tap("bench%d");
        return (p->overlay >= 0 && ret->overlay < 0) || (p->memory >= 0 && ret->memory < 0) || (p->tap >= 0 && ret->tap < 0) ? -EIO : 0;
}

static void things_done(Things *t) {
        safe_close(t->overlay);
        safe_close(t->memory);
        safe_close(t->tap);
}

int vmm_boot(const Pattern *p, Vmm *ret) {
        uint64_t start;
        Things t;
        int r;

        *ret = (Vmm) { .monitor = -EBADF, .console = -EBADF, .agent = -EBADF };
        r = make_things(p, &t);
        start = now_usec(CLOCK_MONOTONIC);
        if (r >= 0)
                r = vmm_execute(p, &t, ret);
        if (r >= 0)
                r = wait_ready(ret, start);
        if (r >= 0)
                report("by-hand", now_usec(CLOCK_MONOTONIC) - start);
        things_done(&t);
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

static int command(Vmm *v, const char *text) {
        int r;

        r = write_all(v->monitor, text, strlen(text));
        return r < 0 ? r : monitor_wait(v, "\"return\"");
}

static int hand_over(Vmm *v, int fd) {
        static const char text[] = "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n";
        union {
                struct cmsghdr header;
                uint8_t buf[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { (char *) text, sizeof(text) - 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);

        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof(fd));
        if (sendmsg(v->monitor, &m, 0) < 0)
                return -errno;
        return monitor_wait(v, "\"return\"");
}

static int load_state(Vmm *v, int state_fd) {
        int r;

        r = vmm_greet(v);
        if (r >= 0)
                r = lseek(state_fd, 0, SEEK_SET) < 0 ? -errno : hand_over(v, state_fd);
        if (r >= 0)
                r = command(v, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
                               "{\"capability\":\"x-ignore-shared\",\"state\":true},{\"capability\":\"events\",\"state\":true}]}}\n");
        if (r >= 0)
                r = command(v, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:state\"}}\n");
        return r < 0 ? r : monitor_wait(v, "\"completed\"");
}

static int load_image(const Pattern *p, const Guest *g, Things *t, int *ret_state_fd) {
        _cleanup_free_ char *why = NULL;
        int r;

        t->memory = make_memory(p);
        if (t->memory < 0)
                return t->memory;
        r = memory_image_read_state(g->image_fd, ret_state_fd, &why);
        if (r >= 0)
                r = memory_image_load(g->image_fd, t->memory, &why);
        return r < 0 ? complain(r, "the memory image: %s", strna(why)) : 0;
}

int vmm_restore(const Pattern *p, const Guest *g, Vmm *ret, uint64_t *ret_usec, uint64_t *ret_loaded_usec) {
        _cleanup_close_ int own_memory = -EBADF, own_state = -EBADF, own_tap = -EBADF;
        Things t = { g->overlay_fd, g->memory_fd, g->tap_fd };
        uint64_t start;
        int r = 0;

        *ret = (Vmm) { .monitor = -EBADF, .console = -EBADF, .agent = -EBADF };
        if (p->tap >= 0 && t.tap < 0) {
                t.tap = own_tap = bench_tap("bench%d");
                if (t.tap < 0)
                        return t.tap;
        }
        start = now_usec(CLOCK_MONOTONIC);
        if (g->image_fd >= 0) {
                r = load_image(p, g, &t, &own_state);
                own_memory = t.memory;
        }
        if (ret_loaded_usec)
                *ret_loaded_usec = now_usec(CLOCK_MONOTONIC) - start;
        if (r >= 0)
                r = vmm_execute(p, &t, ret);
        if (r >= 0)
                r = load_state(ret, own_state >= 0 ? own_state : g->state_fd);
        if (r >= 0)
                r = vmm_pause(ret, false);
        *ret_usec = now_usec(CLOCK_MONOTONIC) - start;
        return r;
}
