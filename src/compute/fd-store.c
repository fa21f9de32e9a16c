/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/fd-store.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "shared/log.h"

int fd_store_tag(int fd, FdTag tag) {
        int v = (int) tag;

        return setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &v, sizeof(v)) < 0 ? negative_errno() : 0;
}

FdTag fd_store_get_tag(int fd) {
        socklen_t l = sizeof(int);
        int v;

        return getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &v, &l) < 0 ? FD_TAG_NONE : (FdTag) v;
}

void fd_store_push(const char *name, const int *fds, size_t n) {
        _cleanup_free_ char *state = strprintf("FDSTORE=1\nFDNAME=%s", name);
        int r;

        r = state ? sd_pid_notify_with_fds(0, false, state, fds, (unsigned) n) : -ENOMEM;
        if (r < 0)
                (void) log_warning_errno(r, "Cannot keep '%s' for the next start of the daemon: %m", name);
}

void fd_store_remove(const char *name) {
        (void) sd_notifyf(false, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

static char *vm_fd_name(const Vm *vm) {
        return strprintf("vm-%s", vm->name);
}

void fd_store_push_vm(Vm *vm) {
        _cleanup_free_ char *name = vm_fd_name(vm);
        int fds[] = { vm->runtime->monitor_fd, vm->runtime->agent_fd, vm->runtime->console_fd };

        if (name)
                fd_store_push(name, fds, ELEMENTSOF(fds));
}

void fd_store_remove_vm(Vm *vm) {
        _cleanup_free_ char *name = vm_fd_name(vm);

        if (name)
                fd_store_remove(name);
}

int fd_store_shutdown(int fd) {
        if (fd >= 0)
                (void) shutdown(fd, SHUT_RDWR);
        return safe_close(fd);
}

int fd_store_receive(FdStore *ret) {
        char **names = NULL;
        StoredFd *fds;
        int n;

        *ret = (FdStore) {};
        n = sd_listen_fds_with_names(true, &names);
        if (n <= 0)
                return n;
        fds = new0(StoredFd, (size_t) n);
        if (!fds)
                return -ENOMEM;
        for (int i = 0; i < n; i++)
                fds[i] = (StoredFd) { names[i], SD_LISTEN_FDS_START + i };
        free(names);
        *ret = (FdStore) { fds, (size_t) n };
        return n;
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
        s->n = 0;
}

void fd_store_forget(FdStore *s) {
        for (size_t i = 0; i < s->n; i++) {
                safe_close(s->fds[i].fd);
                free(s->fds[i].name);
        }
        s->fds = mfree(s->fds);
        s->n = 0;
}
