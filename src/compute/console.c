/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/console.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/vm-awake.h"
#include "compute/vm-record.h"

#define LOG_NAME "console.log"
#define LOG_OLD_NAME "console.log.1"
#define CHUNK 16384u
/* At most so many chunks in so much time: about 8 MB/s of a guest that floods. */
#define RATE_INTERVAL (100 * USEC_PER_MSEC)
#define RATE_BURST 50u
/* What somebody who is still reading the history may miss of what comes meanwhile, beyond one more history's worth. */
#define BACKLOG_FACTOR 2u

typedef struct Attachment {
        LIST_ENTRY(Attachment) attached;
        Console *console;
        int fd;
        sd_event_source *io;
        bool input;

        /* What is still to be sent before what is new: a memory file, fed as the other end reads. -EBADF: nothing. The
         * socket's own buffer is bounded by net.core.wmem_max and takes no whole history. */
        int backlog_fd;
        off_t backlog_offset, backlog_size;
} Attachment;

struct Console {
        Vm *vm;
        int fd, log_fd;
        uint64_t log_size;
        sd_event_source *io;
        LIST_HEAD(, Attachment) attached;
        unsigned n_attached;
};

static char *attachment_fd_name(const Attachment *a) {
        return strprintf("%s-%s", a->input ? "console" : "log", a->console->vm->name);
}

static Attachment *attachment_free(Attachment *a) {
        LIST_REMOVE(a, attached);
        a->console->n_attached--;
        a->io = sd_event_source_disable_unref(a->io);
        /* PID 1 forgets the socket once the other end is gone, which this makes sure of. */
        (void) fd_store_shutdown(a->fd);
        safe_close(a->backlog_fd);
        return mfree(a);
}

static uint32_t attachment_events(const Attachment *a) {
        return EPOLLIN | (a->backlog_fd >= 0 ? EPOLLOUT : 0);
}

/* Sends of the backlog what the socket takes. */
static void attachment_feed(Attachment *a) {
        static char buf[CHUNK];

        while (a->backlog_fd >= 0) {
                ssize_t n, k;

                n = pread(a->backlog_fd, buf, sizeof(buf), a->backlog_offset);
                if (n <= 0) {
                        a->backlog_fd = safe_close(a->backlog_fd);
                        (void) sd_event_source_set_io_events(a->io, attachment_events(a));
                        return;
                }
                k = send(a->fd, buf, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (k < 0)
                        return;
                a->backlog_offset += k;
        }
}

/* New output: behind the backlog where there is one, else straight out. */
static void attachment_output(Attachment *a, const char *p, size_t n) {
        off_t max = (off_t) (BACKLOG_FACTOR * a->console->vm->manager->config.console_history);

        if (a->backlog_fd < 0)
                (void) send(a->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        else if (a->backlog_size + (off_t) n <= max && pwrite(a->backlog_fd, p, n, a->backlog_size) == (ssize_t) n)
                a->backlog_size += (off_t) n;
}

static int console_open_log(Console *c) {
        _cleanup_close_ int dir_fd = -EBADF;
        struct stat st;

        if (c->log_fd >= 0)
                return 0;
        dir_fd = vm_directory_open(c->vm, false);
        if (dir_fd < 0)
                return dir_fd;
        c->log_fd = openat(dir_fd, LOG_NAME, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (c->log_fd < 0 || fstat(c->log_fd, &st) < 0)
                return negative_errno();
        c->log_size = (uint64_t) st.st_size;
        return 0;
}

/* Two files of half the size each: when the newer is full the older goes. */
static void console_keep(Console *c, const char *p, size_t n) {
        uint64_t half = c->vm->manager->config.console_history / 2;

        if (console_open_log(c) < 0)
                return;
        if (c->log_size > 0 && c->log_size + n > half) {
                _cleanup_close_ int dir_fd = vm_directory_open(c->vm, false);

                c->log_fd = safe_close(c->log_fd);
                if (dir_fd < 0 || renameat(dir_fd, LOG_NAME, dir_fd, LOG_OLD_NAME) < 0 || console_open_log(c) < 0)
                        return;
        }
        if (write_all(c->log_fd, p, n) >= 0)
                c->log_size += n;
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        static char buf[CHUNK];
        Console *c = userdata;
        Attachment *a;
        ssize_t n;

        n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                c->io = sd_event_source_disable_unref(c->io);
                while ((a = LIST_FIRST(&c->attached)))
                        attachment_free(a);
                return 0;
        }
        console_keep(c, buf, (size_t) n);
        LIST_FOREACH(a, &c->attached, attached)
                attachment_output(a, buf, (size_t) n);
        return 0;
}

int console_new(Vm *vm, int fd, Console **ret) {
        Console *c;
        int r;

        c = new(Console, 1);
        if (!c)
                return -ENOMEM;
        *c = (Console) { .vm = vm, .fd = fd, .log_fd = -EBADF };
        LIST_INIT(&c->attached);
        if (fd >= 0) {
                r = sd_event_add_io(vm->manager->event, &c->io, fd, EPOLLIN, on_output, c);
                if (r >= 0)
                        r = sd_event_source_set_ratelimit(c->io, RATE_INTERVAL, RATE_BURST);
                if (r >= 0)
                        /* Somebody's flood comes after everybody's calls. */
                        r = sd_event_source_set_priority(c->io, SD_EVENT_PRIORITY_NORMAL + 5);
                if (r < 0) {
                        c->fd = -EBADF;
                        console_free(c);
                        return r;
                }
        }
        *ret = c;
        return 0;
}

Console *console_free(Console *c) {
        Attachment *a;

        if (!c)
                return NULL;
        while ((a = LIST_FIRST(&c->attached)))
                attachment_free(a);
        sd_event_source_disable_unref(c->io);
        safe_close(c->fd);
        safe_close(c->log_fd);
        return mfree(c);
}

void console_forget(Console *c) {
        Attachment *a;

        if (!c)
                return;
        LIST_FOREACH(a, &c->attached, attached) {
                safe_close(a->fd);
                a->fd = -EBADF;
        }
}

static bool guest_listens(const Vm *vm) {
        return vm->state == VM_RUNNING || vm->state == VM_STARTING || vm->state == VM_STOPPING;
}

/* What is typed at a VM that sleeps stays with us until it is awake: a VMM that is about to load its devices takes what there is
 * on its console, and forgets it with the loading. Off, as a closed end would be reported all the time. */
static void attachment_wait(Attachment *a) {
        Vm *vm = a->console->vm;

        (void) sd_event_source_set_enabled(a->io, SD_EVENT_OFF);
        vm_awake(vm, "somebody types at its console."); /* may come back to console_go_on() */
}

void console_go_on(Console *c, bool discard) {
        char buf[1024];
        Attachment *a;

        if (!c)
                return;
        LIST_FOREACH(a, &c->attached, attached) {
                if (sd_event_source_get_enabled(a->io, NULL) != SD_EVENT_OFF)
                        continue;
                while (discard && recv(a->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
                        ;
                (void) sd_event_source_set_enabled(a->io, SD_EVENT_ON);
        }
}

/* What the attached end writes: taken only as the guest takes it. */
static int on_input(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Attachment *a = userdata;
        char buf[1024];
        ssize_t n, k;

        if (revents & EPOLLOUT)
                attachment_feed(a);
        n = recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                if (n < 0 || revents & EPOLLHUP)
                        attachment_free(a);
                else
                        /* Closed for writing only: it still wants to read. */
                        (void) sd_event_source_set_io_events(s, attachment_events(a) & ~(uint32_t) EPOLLIN);
                return 0;
        }
        vm_touch(a->console->vm);
        if (a->input && !guest_listens(a->console->vm)) {
                attachment_wait(a);
                return 0;
        }
        k = a->input ? send(a->console->fd, buf, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT) : n;
        if (k < 0) {
                /* The guest does not read. A person's keys may be dropped rather than spin on them. */
                k = n;
        }
        (void) recv(fd, buf, (size_t) k, MSG_DONTWAIT);
        return 0;
}

int console_adopt_attachment(Console *c, int fd, bool input) {
        Attachment *a;
        int r;

        if (c->n_attached >= CONSOLE_ATTACHED_MAX)
                return -EDQUOT;
        a = new(Attachment, 1);
        if (!a)
                return -ENOMEM;
        *a = (Attachment) { .console = c, .fd = fd, .input = input, .backlog_fd = -EBADF };
        LIST_INSERT_HEAD(&c->attached, a, attached);
        c->n_attached++;
        r = sd_event_add_io(c->vm->manager->event, &a->io, fd, EPOLLIN, on_input, a);
        if (r < 0) {
                a->fd = -EBADF;
                attachment_free(a);
        }
        return r;
}

/* Copies the end of the history to fd: the last max bytes of old and new together. */
static int copy_history(Vm *vm, uint64_t max, int fd) {
        static const char *const names[] = { LOG_OLD_NAME, LOG_NAME };
        _cleanup_close_ int dir_fd = -EBADF;
        uint64_t sizes[2] = {}, skip;
        int fds[2] = { -EBADF, -EBADF };

        dir_fd = vm_directory_open(vm, false);
        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        for (unsigned i = 0; i < 2; i++) {
                struct stat st;

                fds[i] = openat(dir_fd, names[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                if (fds[i] >= 0 && fstat(fds[i], &st) >= 0)
                        sizes[i] = (uint64_t) st.st_size;
        }
        skip = max > 0 && sizes[0] + sizes[1] > max ? sizes[0] + sizes[1] - max : 0;
        for (unsigned i = 0; i < 2; i++) {
                uint64_t offset = MIN2(skip, sizes[i]);
                static char buf[CHUNK];
                ssize_t n;

                skip -= offset;
                while (fds[i] >= 0 && (n = pread(fds[i], buf, sizeof(buf), (off_t) offset)) > 0 &&
                       write_all(fd, buf, (size_t) n) >= 0)
                        offset += (uint64_t) n;
                safe_close(fds[i]);
        }
        return 0;
}

static int history_new(Vm *vm, uint64_t max, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = memfd_create("console-history", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return negative_errno();
        r = copy_history(vm, max, fd);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int console_attach(Console *c, bool history, uint64_t history_max, bool input, int *ret_fd) {
        _cleanup_close_ int backlog_fd = -EBADF;
        _cleanup_free_ char *name = NULL;
        Attachment *a;
        int pair[2], r;

        if (c->n_attached >= CONSOLE_ATTACHED_MAX)
                return -EDQUOT;
        if (history) {
                r = history_new(c->vm, history_max, &backlog_fd);
                if (r < 0)
                        return r;
        }
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        r = console_adopt_attachment(c, pair[0], input);
        if (r < 0) {
                safe_close(pair[0]);
                safe_close(pair[1]);
                return r;
        }
        a = LIST_FIRST(&c->attached);
        if (backlog_fd >= 0) {
                a->backlog_size = lseek(backlog_fd, 0, SEEK_END);
                a->backlog_fd = TAKE_FD(backlog_fd);
                (void) sd_event_source_set_io_events(a->io, attachment_events(a));
        }
        name = attachment_fd_name(a);
        if (name)
                fd_store_push(name, &pair[0], 1);
        *ret_fd = pair[1];
        return 0;
}

int console_read_history(Vm *vm, uint64_t max, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = history_new(vm, max, &fd);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return negative_errno();
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int console_fd(const Console *c) {
        return c->fd;
}
