/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/fd-store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/close-later.h"
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "basic/low-fd.h"
#include "basic/string-util.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/manager.h"
#include "shared/log.h"

#define BOX_MAX 8u
#define BOX_WORD 'B'

#define FD_TO_PTR(fd) ((void *) (intptr_t) (fd))
#define PTR_TO_FD(p) ((int) (intptr_t) (p))

int fd_store_tag(int fd, FdTag tag) {
        int v = (int) tag;

        return setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &v, sizeof(v)) < 0 ? negative_errno() : 0;
}

FdTag fd_store_get_tag(int fd) {
        socklen_t l = sizeof(int);
        struct stat st;
        int v;

        if (getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &v, &l) >= 0)
                return (FdTag) v;
        if (fstat(fd, &st) < 0)
                return FD_TAG_NONE;
        return S_ISCHR(st.st_mode) ? FD_TAG_TAP : S_ISREG(st.st_mode) ? FD_TAG_MEMORY : FD_TAG_NONE;
}

static void push(const char *name, const char *how, const int *fds, size_t n) {
        _cleanup_free_ char *state = strprintf("FDSTORE=1\n%sFDNAME=%s", how, name);
        int r;

        r = state ? sd_pid_notify_with_fds(0, false, state, fds, (unsigned) n) : -ENOMEM;
        if (r < 0)
                (void) log_warning_errno(r, "Cannot keep '%s' for the next start of the daemon: %m", name);
}

void fd_store_push(const char *name, const int *fds, size_t n) {
        push(name, "", fds, n);
}

void fd_store_remove(const char *name) {
        (void) sd_notifyf(false, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

static char *vm_fd_name(const Vm *vm) {
        return strprintf("vm-%s", vm->name);
}

/* What is on its way in a message is charged to the real uid of who sent it, and of a user who has more on its way than
 * RLIMIT_NOFILE no process may send a file that lacks CAP_SYS_ADMIN and CAP_SYS_RESOURCE. Not to root, then, of whom there are
 * such processes: to a uid that nobody has. Only the real one, and only for the call: privileges go by the effective one. */
static int send_charged_to(uid_t uid, int socket_fd, const int *fds, size_t n_fds) {
        const char word = BOX_WORD;
        bool changed;
        int r;

        changed = syscall(SYS_setresuid, uid, -1, -1) >= 0;
        r = send_fds(socket_fd, &word, 1, fds, n_fds, MSG_DONTWAIT);
        if (changed && syscall(SYS_setresuid, 0, -1, -1) < 0)
                abort(); /* cannot fail: the effective uid is still root's */
        return r;
}

/* A socket with one message in it that holds the fds. Nobody ever takes it out: who comes next peeks. */
static int box_new(uid_t uid, const int *fds, size_t n) {
        _cleanup_close_ int in = -EBADF, box = -EBADF;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        in = pair[0];
        box = pair[1];
        r = send_charged_to(uid, in, fds, n);
        return r < 0 ? r : TAKE_FD(box);
}

/* Copies of the fds in it; 0: it is no box; < 0: one that cannot be read. Of what another version put into it, no more
 * than we know. */
static int box_open(int fd, int ret[static BOX_MAX]) {
        int fds[FDS_PASS_MAX], type;
        socklen_t l = sizeof(type);
        ssize_t size;
        size_t n;
        char word;

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &l) < 0 || type != SOCK_DGRAM)
                return 0;
        size = receive_fds(fd, &word, 1, fds, ELEMENTSOF(fds), &n, MSG_PEEK | MSG_DONTWAIT);
        if (size < 0)
                return size == -EAGAIN ? 0 : (int) size;
        if (size != 1 || word != BOX_WORD) {
                close_many(fds, n);
                return 0;
        }
        if (n > BOX_MAX) {
                close_many(fds + BOX_MAX, n - BOX_MAX);
                n = BOX_MAX;
        }
        memcpy(ret, fds, n * sizeof(int));
        return (int) n;
}

void fd_store_push_vm(Vm *vm) {
        const VmRuntime *rt = vm->runtime;
        const int all[] = {
                rt->monitor_fd, rt->agent ? agent_fd(rt->agent) : rt->agent_fd,
                rt->console ? console_fd(rt->console) : rt->console_fd, rt->agent_peer, rt->console_peer, rt->memory_fd,
                vm->network.tap_fd,
        };
        const ComputeConfig *c = &vm->manager->config;
        _cleanup_free_ char *name = vm_fd_name(vm);
        _cleanup_close_ int box = -EBADF;
        int fds[ELEMENTSOF(all)];
        size_t n = 0;

        if (!name)
                return;
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i] >= 0)
                        fds[n++] = all[i];
        box = box_new(c->uid_base + c->uid_count, fds, n);
        if (box < 0)
                (void) log_warning_errno(box, "Cannot keep the channels of VM '%s' for the next start of the daemon: %m",
                                         vm->name);
        else
                push(name, "FDPOLL=0\n", &box, 1); /* PID 1 has nothing to wait for: nobody is at the other end */
}

void fd_store_push_state(Vm *vm) {
        _cleanup_free_ char *name = strprintf("state-%s", vm->name);

        if (name)
                fd_store_push(name, &vm->runtime->state_fd, 1);
}

void fd_store_remove_state(Vm *vm) {
        _cleanup_free_ char *name = strprintf("state-%s", vm->name);

        if (name)
                fd_store_remove(name);
}

void fd_store_remove_vm(Vm *vm) {
        _cleanup_free_ char *name = vm_fd_name(vm);

        if (name)
                fd_store_remove(name);
}

static int on_barrier(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        sd_event_source_disable_unref(s);
        (void) close_later(PTR_TO_FD(userdata));
        return 0;
}

/* The read end of a pipe of which PID 1 closes the other when it comes to it: sd_notify(3), BARRIER=1. */
static int barrier_new(void) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return negative_errno();
        ours = ends[0];
        theirs = ends[1];
        r = sd_pid_notify_with_fds(0, false, "BARRIER=1", &theirs, 1);
        return r < 0 ? r : r == 0 ? -ENOTCONN : TAKE_FD(ours);
}

void fd_store_close_after(Manager *m, int fd) {
        sd_event_source *s = NULL;
        int barrier;

        if (fd < 0)
                return;
        barrier = barrier_new();
        if (barrier >= 0 && sd_event_add_io(m->event, &s, barrier, EPOLLHUP, on_barrier, FD_TO_PTR(fd)) >= 0 &&
            sd_event_source_set_io_fd_own(s, true) >= 0)
                return;
        /* Nobody keeps anything for us, or it could not be asked. */
        sd_event_source_disable_unref(s);
        safe_close(barrier);
        (void) close_later(fd);
}

int fd_store_shutdown(int fd) {
        if (fd >= 0)
                (void) shutdown(fd, SHUT_RDWR);
        return safe_close(fd);
}

static int store_add(FdStore *s, char *name, int fd) {
        if (!name || !GREEDY_REALLOC(s->fds, s->allocated, s->n + 1)) {
                free(name);
                safe_close(fd);
                return -ENOMEM;
        }
        s->fds[s->n++] = (StoredFd) { name, fd };
        return 0;
}

/* The content of a box in its place. */
static int store_unpack(FdStore *s, char *name, int fd) {
        int fds[BOX_MAX], n, r = 0;

        n = box_open(fd, fds);
        if (n == 0)
                return store_add(s, name, fd);
        if (n < 0)
                log_warning_errno(n, "What is kept as '%s' cannot be taken out, closing it: %m", name);
        for (int i = 0; i < n; i++)
                if (store_add(s, strdup(name), fds[i]) < 0)
                        r = -ENOMEM;
        free(name);
        safe_close(fd);
        return r;
}

int fd_store_receive(FdStore *ret) {
        char **names = NULL;
        int n, r = 0;

        *ret = (FdStore) {};
        n = sd_listen_fds_with_names(true, &names);
        if (n <= 0)
                (void) low_fd_keep();
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                if (store_unpack(ret, names[i], i == 0 ? low_fd_from(fd) : fd) < 0)
                        r = -ENOMEM;
        }
        free(names);
        return n < 0 ? n : r;
}

void fd_store_done(FdStore *s) {
        for (size_t i = 0; i < s->n; i++) {
                if (s->fds[i].fd >= 0) {
                        log_debug("Nobody wants the stored '%s', closing it.", s->fds[i].name);
                        (void) fd_store_shutdown(s->fds[i].fd);
                        fd_store_remove(s->fds[i].name);
                }
                free(s->fds[i].name);
        }
        s->fds = mfree(s->fds);
        s->n = s->allocated = 0;
}

void fd_store_forget(FdStore *s) {
        for (size_t i = 0; i < s->n; i++) {
                safe_close(s->fds[i].fd);
                free(s->fds[i].name);
        }
        s->fds = mfree(s->fds);
        s->n = s->allocated = 0;
}
