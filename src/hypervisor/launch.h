/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-vmm-launch: starts VMMs for hero-computed.
 *
 *     launch-main.c        the server: one request, one process
 *     launch-request.c     what a request says
 *     launch-mounts.c      the root its VMMs see, and it itself from the first request on
 *     launch-process.c     that process: takes the steps below in order, waits for its release, executes the VMM
 *     launch-privileges.c  limits, uid, gid, capabilities
 *     launch-seccomp.c     system calls no VMM has a use for
 *
 * A server rather than a program per VM: its libraries are loaded, its system call filter and the VMMs' root are
 * built once and not for every VM, which is most of what a start would cost. A VM's process gets a copy of the mount
 * namespace, with the half dozen mounts that are in it. Nothing of a VM stays in the server.
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
        const char *kind; /* of root: the words from the first path to the program */
        size_t n_kind;

        gid_t groups[LAUNCH_PATHS_MAX]; /* that own its devices */
        size_t n_groups;

        LaunchReport report;
} Launch;

#define LAUNCH_WORDS_MAX 1024

/* Parses a request that came with n_fds. words and what it points to must live as long as ret. -EINVAL, -E2BIG. */
int launch_parse(Launch *ret, char *request, size_t size, size_t n_fds, char *words[static LAUNCH_WORDS_MAX + 1]);

/* Becomes the VMM that request (size bytes of words) and fds describe, or exits. root is what launch_mounts() was
 * called with; what went wrong with it is reported. */
void launch_process(const Launch *root, char *request, size_t size, const int fds[], size_t n_fds,
                    const LaunchFilter *filter) __attribute__((__noreturn__));

/* Notes what failed and returns -error. */
int launch_failed(Launch *l, int error, const char *format, ...) _printf_(3, 4);

/* Puts the server into a mount namespace of its own with the root that l asks for: see there. Once. */
int launch_mounts(Launch *l);

/* Once, in the server: guests are the better victims. */
int launch_raise_oom_score(Launch *l);

int launch_limits(Launch *l);

/* Once, in the server: the bounding set limits what an exec can give, not what one has. -errno. */
int launch_drop_bounding_set(void);

/* For good: uid, gid, no groups but those of its devices, no capability in any set, no_new_privs. */
int launch_drop_privileges(Launch *l);

/* Builds the filter by libseccomp (slow, once) and loads it (last, before exec). The first returns -errno and no
 * sentence. */
int launch_seccomp_new(LaunchFilter *ret);
int launch_seccomp_load(Launch *l, const LaunchFilter *filter);
