/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-vmm-launch: starts VMMs for hero-computed.
 *
 *     launch-main.c        the server: one request, one process
 *     launch-process.c     that process: takes the steps below in order, waits for its release, executes the VMM
 *     launch-mounts.c      the root the VMM sees
 *     launch-privileges.c  limits, uid, gid, capabilities
 *     launch-seccomp.c     system calls no VMM has a use for
 *
 * A server rather than a program per VM: its libraries are loaded, relocated and initialised and its system call
 * filter is built once and not for every VM, which is most of what a start would cost. Nothing of a VM stays in it.
 *
 * Each step returns 0 or -errno and then has left a sentence in Launch.report. */

#include <libmount/libmount.h>
#include <linux/filter.h>

#include "basic/macro.h"
#include "hypervisor/launch-protocol.h"

#define LAUNCH_PATHS_MAX 64

typedef struct sock_fprog LaunchFilter;

typedef struct Launch {
        int control_fd;
        uid_t uid;
        gid_t gid;
        const char *paths[LAUNCH_PATHS_MAX];
        size_t n_paths;
        const char *devices[LAUNCH_PATHS_MAX];
        size_t n_devices;
        bool proc;
        char **argv; /* of the VMM */

        gid_t groups[LAUNCH_PATHS_MAX]; /* that own its devices */
        size_t n_groups;

        LaunchReport report;
} Launch;

/* Becomes the VMM that request (size bytes of words) and fds describe, or exits. */
void launch_process(char *request, size_t size, const int fds[], size_t n_fds, const LaunchFilter *filter)
        __attribute__((__noreturn__));

/* Notes what failed and returns -error. */
int launch_failed(Launch *l, int error, const char *format, ...) _printf_(3, 4);

/* Puts the process into a mount namespace with a root of its own: see there. */
int launch_mounts(Launch *l);

int launch_limits(Launch *l);

/* Once, in the server: the bounding set limits what an exec can give, not what one has. -errno. */
int launch_drop_bounding_set(void);

/* For good: uid, gid, no groups but those of its devices, no capability in any set, no_new_privs. */
int launch_drop_privileges(Launch *l);

/* Builds the filter by libseccomp (slow, once) and loads it (last, before exec). The first returns -errno and no
 * sentence. */
int launch_seccomp_new(LaunchFilter *ret);
int launch_seccomp_load(Launch *l, const LaunchFilter *filter);
