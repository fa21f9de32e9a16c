/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Starting a VMM so that it never executes one instruction outside its scope.
 *
 * vmm_process_spawn() has the launcher (hero-vmm-launch, started with the first VM) make a process that blocks on
 * its control fd, after it has built the sandbox (everything closed that it was not told about, mount namespace by
 * libmount, uid and gid, no capabilities by libcap-ng, no_new_privs, seccomp, rlimits): that is our program and not
 * the VMM, and it takes about as long as systemd needs for the scope. The caller puts the pid into a scope and then
 * calls vmm_process_release(); what follows is the exec, of a guest that slept on disk after its memory was loaded. What goes
 * wrong, with the sandbox even before the release, comes back over the control fd as an errno and a sentence; EOF after the exec
 * was announced means the VMM runs.
 * Closing the control fd instead of releasing makes the process exit. The launcher is a program of its own so that no copy of
 * the daemon's memory is ever in the VMM's scope, and so that a start costs a fork of something small.
 *
 * The launcher needs CAP_SYS_ADMIN (namespace, mounts, pivot_root), CAP_SETUID, CAP_SETGID, CAP_SETPCAP (empty
 * bounding set), and CAP_DAC_READ_SEARCH only where a sandbox path is below a directory root may not search. */

#include "hypervisor/hypervisor.h"

typedef struct VmmProcess {
        pid_t pid;
        int pidfd;
        int control_fd; /* until the launcher has reported */
        int errors_fd;  /* what launcher and VMM write to stdout and stderr; bounded by the pipe, never blocks them */
        bool executing; /* the launcher announced its exec */
        bool loading;   /* the guest's memory is being loaded beside it */
} VmmProcess;

#define VMM_PROCESS_NULL \
        ((VmmProcess) { .pid = 0, .pidfd = -EBADF, .control_fd = -EBADF, .errors_fd = -EBADF })

/* Returns 0 and a process that will block, or -errno. It is our own child, and not reaped here: the caller watches pidfd. uid
 * and gid must not be 0. */
int vmm_process_spawn(const VmmCommand *command, const VmmSandbox *sandbox, uid_t uid, gid_t gid, VmmProcess *ret);

int vmm_process_release(VmmProcess *p);

/* To be called when control_fd is readable. 1: the VMM was executed, and its memory loaded if it slept; 0: not yet; -errno: it failed and
 * *ret_text (allocated, may stay NULL) is a sentence that says at what. Closes control_fd unless 0. */
int vmm_process_result(VmmProcess *p, char **ret_text);

/* What the VMM complained about: the last line it wrote to stderr, made printable, at most 500 bytes. Reads what
 * is there and never blocks. 0 and *ret NULL when it wrote nothing. For the moment after its end. */
int vmm_process_last_words(VmmProcess *p, char **ret);

void vmm_process_done(VmmProcess *p); /* closes the fds; the process exits if it was not released */
