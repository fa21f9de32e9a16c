/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-vmm-launch: starts VMMs for hero-computed.
 *
 *     launch-main.c        the server: a process in advance whenever one is ordered
 *     launch-request.c     what it is told, and what that process is told
 *     launch-mounts.c      the root its VMMs see, and it itself from the first request on
 *     launch-process.c     that process: takes the steps below in order, waits for its release, executes the VMM
 *     launch-privileges.c  limits, uid, gid, capabilities
 *     memory-image-read.c  the memory of a guest that slept on disk
 *     launch-seccomp.c     system calls no VMM has a use for
 *
 * A server rather than a program per VM: its libraries are loaded, its system call filter and the VMMs' root are
 * built once and not for every VM, which is most of what a start would cost. A VM's process gets a copy of the mount
 * namespace, with the half dozen mounts that are in it, and is there before the VM is: to make it takes as long as all
 * the rest of what the daemon does for a start. Nothing of a VM ever comes to the server.
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
        int image_fd, memory_fd; /* to be filled from the other; -EBADF: neither */
        size_t n_load;
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

/* Parses a request that came with n_fds, or what a root is to show. words and what they point to must live as long as
 * ret. -EINVAL, -E2BIG. */
int launch_parse(Launch *ret, char *request, size_t size, size_t n_fds, char *words[static LAUNCH_WORDS_MAX + 1]);
int launch_parse_kind(Launch *ret, char *text, size_t size, char *words[static LAUNCH_WORDS_MAX + 1]);

/* Waits at the control socket for a VM, becomes its VMM, or exits. root is what launch_mounts() was called with; what
 * went wrong with it is reported. */
void launch_process(const Launch *root, int control_fd, const LaunchFilter *filter) __attribute__((__noreturn__));

/* Notes what failed and returns -error. */
int launch_failed(Launch *l, int error, const char *format, ...) _printf_(3, 4);

/* Takes text, a whole sentence, for the report, and returns -error. */
int launch_refused(Launch *l, int error, const char *text);

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
