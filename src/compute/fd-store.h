/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What outlives the daemon: sockets kept in systemd's fd store (sd_pid_notify_with_fds(3), FDSTORE=1).
 *
 * A VM's monitor, agent and console sockets are kept as one entry, "vm-NAME": a socket in whose queue they lie (SCM_RIGHTS).
 * PID 1 compares what it is given with everything it has, by a system call each, so that thrice as many entries cost nine times as
 * much: half a millisecond for each of 128 VMs. There is no cycle in it and PID 1 holds its end, so the kernel never takes it for
 * garbage; nor does a re-execution of PID 1 lose it. What lies in a queue counts as in flight, three for each VM, but not for
 * root, whose other processes (a service's, a container's) could then send no fd any more (ETOOMANYREFS with RLIMIT_NOFILE=1024
 * from 342 VMs on): for the uid behind the last of UIDBase= and UIDCount=, which nobody has. To tell the sockets apart when they
 * come back, each carries a tag in its SO_PRIORITY, which a Unix socket has no other use for and which stays with the socket. An
 * exec session is "exec-STREAM-NAME", an attached console "console-NAME"; of these PID 1 drops a socket by itself when its peer
 * is gone. A name is removed explicitly where the peer may live on.
 *
 * Because PID 1 holds a duplicate, close() alone does not let a peer see the end: use fd_store_shutdown(). */

#include "compute/vm.h"

typedef enum FdTag {
        FD_TAG_NONE = 0,
        FD_TAG_MONITOR = 1,
        FD_TAG_AGENT = 2,
        FD_TAG_CONSOLE = 3,
        FD_TAG_STDIO = 4,
        FD_TAG_STDERR = 5,
        /* in vm-NAME, where there are none of the above */
        FD_TAG_AGENT_PEER = 4,
        FD_TAG_CONSOLE_PEER = 5,
        FD_TAG_CONTROL = 6, /* the highest that needs no CAP_NET_ADMIN */
        /* What is no socket is known by what it is: */
        FD_TAG_TAP = 7,     /* a character device */
        FD_TAG_MEMORY = 8,  /* a file */
} FdTag;

int fd_store_tag(int fd, FdTag tag);
FdTag fd_store_get_tag(int fd);

void fd_store_push(const char *name, const int *fds, size_t n);
void fd_store_remove(const char *name);
/* Where something is kept of it already, fd_store_remove_vm() comes first. */
void fd_store_push_vm(Vm *vm);
/* "state-NAME": there is a guest in memory that sleeps, and has not gone on since. */
void fd_store_push_state(Vm *vm);
void fd_store_remove_state(Vm *vm);
void fd_store_remove_vm(Vm *vm);

/* Closes fd once PID 1 has closed all that it was told before to forget: of something that takes long to close (see
 * close_later()) PID 1's must not be the last. Nothing for a negative fd. */
void fd_store_close_after(Manager *m, int fd);

/* shutdown() both ways and close. Returns -EBADF. */
int fd_store_shutdown(int fd);

/* What systemd handed back at start: name and fd, taken out one by one by whoever knows the name. */
typedef struct StoredFd {
        char *name;
        int fd;
} StoredFd;

typedef struct FdStore {
        StoredFd *fds;
        size_t n, allocated;
} FdStore;

int fd_store_receive(FdStore *ret);
/* Closes what nobody took and has PID 1 forget it. */
void fd_store_done(FdStore *s);
/* It did not come to an adoption: PID 1 keeps all of it for the next start. */
void fd_store_forget(FdStore *s);
