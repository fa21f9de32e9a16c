/* SPDX-License-Identifier: Apache-2.0 */

/* Sleep and what wakes from it, with a real guest that serves HTTP: each transition from the call, the first byte of a
 * connection in each state, and a restore by hand of the very same image in turns. */

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "bench.h"
#include "hypervisor/memory-image.h"

#define NAME "bench"
#define GONE_TIMEOUT_MSEC 20000
#define QUIET_USEC (10 * USEC_PER_SEC)
#define SETTLE_USEC 200000
#define IMAGE STATEDIR "/vms/" NAME "/" MEMORY_IMAGE_NAME
#define OVERLAY STATEDIR "/vms/" NAME "/overlay.img"
#define DROP_IN "/etc/hero-compute/compute.conf.d/keep.conf"
#define OVERLAY_COPY STATEDIR "/templates/.bench-overlay-copy.img"

static void settle(void) {
        (void) usleep(SETTLE_USEC);
}

/* When the guest went on, by the daemon's own account. */
static int report_awake(Client *c, const char *name, uint64_t since_realtime) {
        uint64_t running;
        int r;

        r = vm_last_transition(c, NAME, "running", &running);
        if (r >= 0 && running > since_realtime)
                report(name, running - since_realtime);
        return r;
}

/* The end of the VMM's process, seen while the loop runs. */
typedef struct Watch {
        int fd;
        sd_event_source *source;
        uint64_t gone;
} Watch;

static int on_gone(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Watch *w = userdata;

        w->gone = now_usec(CLOCK_MONOTONIC);
        return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static void watch_done(Watch *w) {
        sd_event_source_disable_unref(w->source);
        safe_close(w->fd);
}

static int watch(Client *c, Watch *ret) {
        pid_t pid;
        int r;

        *ret = (Watch) { .fd = -EBADF };
        r = vm_get_pid(c, NAME, &pid);
        if (r < 0)
                return r;
        ret->fd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (ret->fd < 0)
                return complain(-errno, "cannot open process %i", pid);
        r = sd_event_add_io(c->event, &ret->source, ret->fd, EPOLLIN, on_gone, ret);
        return r < 0 ? r : sd_event_source_set_priority(ret->source, SD_EVENT_PRIORITY_IMPORTANT);
}

static int call(Client *c, const char *member, const char *name) {
        uint64_t usec;
        int r;

        r = vm_call(c, NAME, member, &usec);
        if (r < 0)
                return r;
        if (name)
                report(name, usec);
        settle();
        return 0;
}

/* From suspended, or running, to the disk. */
static int hibernate(Client *c, const char *gone, const char *written) {
        uint64_t start, usec;
        Watch w;
        int r;

        r = watch(c, &w);
        if (r >= 0) {
                start = now_usec(CLOCK_MONOTONIC);
                r = vm_call(c, NAME, "Hibernate", &usec);
        }
        if (r >= 0) {
                if (w.gone > start)
                        report(gone, w.gone - start);
                report(written, usec);
        }
        watch_done(&w);
        settle();
        return r;
}

/* Returns when the VMM is gone, and its guest still in memory. */
static int hibernate_into_memory(Client *c) {
        struct pollfd p;
        Watch w;
        int r;

        r = watch(c, &w);
        if (r >= 0)
                r = vm_request(c, NAME, "Hibernate");
        p = (struct pollfd) { .fd = w.fd, .events = POLLIN };
        if (r >= 0 && poll(&p, 1, GONE_TIMEOUT_MSEC) <= 0)
                r = complain(-ETIME, "the VMM does not end");
        watch_done(&w);
        return r;
}

/* How much of hibernated guests' memory is kept, as compute.conf(5) has it, with its percent signs doubled. */
static int keep_memory(const char *share) {
        char command[256];

        (void) snprintf(command, sizeof(command), "printf '[Idle]\\nKeepMemoryMax=%s\\n' >" DROP_IN " && systemctl reload hero-computed", share);
        if (system(command) != 0)
                return complain(0, "cannot set KeepMemoryMax=");
        settle();
        return 0;
}

int copy_overlay(void) {
        int fd;

        if (system("cp --sparse=always " OVERLAY " " OVERLAY_COPY) != 0)
                return complain(0, "cannot copy " OVERLAY);
        fd = open(OVERLAY_COPY, O_RDWR | O_CLOEXEC);
        (void) unlink(OVERLAY_COPY);
        return fd < 0 ? complain(-errno, "cannot open " OVERLAY_COPY) : fd;
}

int open_image(void) {
        int fd = open(IMAGE, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? complain(-errno, "cannot open " IMAGE) : fd;
}

static int hand_byte(const HandNetwork *n, const struct sockaddr_in6 *a, uint64_t *ret_usec) {
        int r, q;

        r = enter_namespace(n->hand);
        if (r >= 0)
                r = first_byte(a, NULL, ret_usec);
        q = enter_namespace(n->home);
        return r < 0 ? r : q;
}

/* Restores the image that is there: with everything that is read from it, and with what is in memory already. */
static int restore_by_hand(const Pattern *p, const HandNetwork *n, const struct sockaddr_in6 *a) {
        _cleanup_close_ int image = open(IMAGE, O_RDONLY | O_CLOEXEC), memory = -EBADF, state = -EBADF, overlay = copy_overlay();
        _cleanup_free_ char *why = NULL;
        uint64_t usec, loaded, byte;
        Vmm v;
        int r;

        if (image < 0 || overlay < 0)
                return complain(-errno, "cannot open " IMAGE);
        r = vmm_restore(p, &(Guest) { image, -EBADF, -EBADF, overlay, n->tap }, &v, &usec, &loaded);
        if (r >= 0)
                r = hand_byte(n, a, &byte);
        vmm_done(&v);
        if (r < 0)
                return r;
        report("hand-load", loaded);
        report("hand-disk", usec);
        report("hand-byte-disk", usec + byte);
        settle();

        safe_close(overlay);
        overlay = copy_overlay();
        memory = memfd_create("by-hand", MFD_CLOEXEC);
        if (overlay < 0 || memory < 0 || ftruncate(memory, (off_t) p->memory_size) < 0)
                return complain(-errno, "cannot make a memory");
        r = memory_image_read_state(image, &state, &why);
        if (r >= 0)
                r = memory_image_load(image, memory, &why);
        if (r < 0)
                return complain(r, "%s", strna(why));
        r = vmm_restore(p, &(Guest) { -EBADF, memory, state, overlay, n->tap }, &v, &usec, NULL);
        if (r >= 0)
                r = hand_byte(n, a, &byte);
        vmm_done(&v);
        if (r >= 0) {
                report("hand-memory", usec);
                report("hand-byte-memory", usec + byte);
        }
        settle();
        return r;
}

static int serve_in_guest(Client *c, unsigned fill_mib) {
        char script[512];

        (void) snprintf(script, sizeof(script),
                        "mkdir -p /run/www && echo hello >/run/www/index.html && httpd -p '[::]:%i' -h /run/www && "
                        "{ [ %u = 0 ] || { mkdir -p /run/fill && mount -t tmpfs -o size=%um none /run/fill && "
                        "dd if=/dev/urandom of=/run/fill/seed bs=1M count=4 && "
                        "for i in $(seq %u); do cat /run/fill/seed >>/run/fill/all || exit 1; done; }; }",
                        HTTP_PORT, fill_mib, fill_mib + 16, fill_mib / 4);
        return vm_shell(c, NAME, script);
}

/* What the guest has touched of its memory, in KiB. */
static int report_used(Client *c, const Pattern *p) {
        char path[64];
        struct stat st;
        pid_t pid;
        int r;

        r = vm_get_pid(c, NAME, &pid);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "/proc/%i/fd/%i", pid, p->memory);
        if (stat(path, &st) < 0)
                return complain(-errno, "cannot stat %s", path);
        report("used-kib", (uint64_t) st.st_blocks / 2);
        return 0;
}

static uint64_t cpu_usage(pid_t pid) {
        _cleanup_free_ char *cgroup = NULL, *text = NULL, *file = NULL;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%i/cgroup", pid);
        if (read_full_file(AT_FDCWD, path, 4096, &cgroup, NULL) < 0 || !strstr(cgroup, "0::"))
                return 0;
        cgroup[strlen(cgroup) - 1] = 0;
        file = strprintf("/sys/fs/cgroup%s/cpu.stat", strstr(cgroup, "0::") + strlen("0::"));
        if (!file || read_full_file(AT_FDCWD, file, 4096, &text, NULL) < 0 || !startswith(text, "usage_usec "))
                return 0;
        return strtoull(text + strlen("usage_usec "), NULL, 10);
}

/* What a suspended VM uses of the processor, and for comparison one that runs and has nothing to do. */
static int quiet(Client *c) {
        uint64_t before;
        pid_t pid;
        int r;

        r = vm_get_pid(c, NAME, &pid);
        if (r < 0)
                return r;
        before = cpu_usage(pid);
        if (before == 0)
                return complain(0, "cannot read cpu.stat");
        (void) usleep(QUIET_USEC);
        report("cpu-running", cpu_usage(pid) - before);
        r = call(c, "Suspend", NULL);
        before = cpu_usage(pid);
        (void) usleep(QUIET_USEC);
        report("cpu-suspended", cpu_usage(pid) - before);
        return r < 0 ? r : call(c, "Resume", NULL);
}

static int frozen_round(Client *c, const struct sockaddr_in6 *a) {
        int r;

        r = first_byte(a, "byte-running", NULL);
        if (r >= 0)
                r = call(c, "Suspend", "suspend");
        if (r >= 0)
                r = call(c, "Resume", "resume");
        if (r >= 0)
                r = call(c, "Suspend", "suspend");
        if (r >= 0)
                r = first_byte(a, "byte-frozen", NULL);
        return r;
}

int first_sleep(Client *c, Pattern *ret) {
        pid_t pid;
        int r;

        r = call(c, "Suspend", NULL);
        if (r >= 0)
                r = hibernate(c, "gone-first", "disk-first");
        if (r >= 0)
                r = call(c, "Resume", NULL);
        if (r >= 0)
                r = vm_get_pid(c, NAME, &pid);
        return r < 0 ? r : pattern_new(pid, ret);
}

static int hibernated_round(Client *c, const struct sockaddr_in6 *a, const Pattern *p, const HandNetwork *n) {
        uint64_t called;
        int r;

        r = call(c, "Suspend", NULL);
        if (r >= 0)
                r = hibernate(c, "gone", "disk");
        if (r >= 0)
                r = restore_by_hand(p, n, a);
        if (r >= 0)
                r = call(c, "Resume", "wake-disk");
        if (r >= 0)
                r = call(c, "Suspend", NULL);
        if (r >= 0)
                r = hibernate_into_memory(c);
        called = now_usec(CLOCK_REALTIME);
        if (r >= 0)
                r = first_byte(a, "byte-memory", NULL);
        if (r >= 0)
                r = report_awake(c, "wake-memory", called);
        if (r >= 0)
                r = hibernate(c, "gone-running", "disk-running");
        if (r >= 0)
                r = first_byte(a, "byte-disk", NULL);
        if (r >= 0)
                r = keep_memory("50%%");
        return r;
}

/* On the disk, and its memory kept. */
static int kept_round(Client *c, const struct sockaddr_in6 *a) {
        int r;

        settle();
        r = call(c, "Hibernate", NULL);
        if (r >= 0)
                r = call(c, "Resume", "wake-kept");
        if (r >= 0)
                r = call(c, "Hibernate", NULL);
        if (r >= 0)
                r = first_byte(a, "byte-kept", NULL);
        settle();
        return r < 0 ? r : keep_memory("0%%");
}

int verb_sleep(Client *c, char **argv) {
        uint64_t memory = strtoull(argv[0], NULL, 10) << 20;
        unsigned fill = (unsigned) strtoul(argv[1], NULL, 10), count = (unsigned) strtoul(argv[2], NULL, 10);
        Pattern p = { .kernel_fd = -EBADF, .initrd_fd = -EBADF, .root_fd = -EBADF };
        HandNetwork n = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
        struct sockaddr_in6 a;
        int r;

        r = keep_memory("0%%");
        if (r >= 0)
                r = user_provision(c, NAME, "qemu", memory, NULL);
        if (r < 0)
                return r;
        a = vm_address(c, NAME);
        r = serve_in_guest(c, fill);
        if (r >= 0)
                r = hand_network_new(c, NAME, false, &n);
        if (r >= 0)
                r = first_byte(&a, "byte-first", NULL);
        if (r >= 0)
                r = first_sleep(c, &p);
        if (r >= 0)
                r = report_used(c, &p);
        if (r >= 0)
                r = first_byte(&a, "byte-first", NULL);
        for (unsigned i = 0; r >= 0 && i < count; i++) {
                r = frozen_round(c, &a);
                if (r >= 0)
                        r = hibernated_round(c, &a, &p, &n);
                if (r >= 0)
                        r = kept_round(c, &a);
        }
        if (r >= 0 && streq(argv[3], "quiet"))
                r = quiet(c);
        pattern_done(&p);
        hand_network_done(&n);
        return r < 0 ? r : user_deprovision(c, NAME);
}
