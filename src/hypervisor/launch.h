/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-vmm-launch: a short-lived program with one job. Its steps, in the order they run:
 *
 *     launch-main.c        what to do (argv), waiting for the release, the order of the steps, exec
 *     launch-mounts.c      the root the VMM sees
 *     launch-privileges.c  limits, uid, gid, capabilities
 *     launch-seccomp.c     system calls no VMM has a use for
 *
 * Each step returns 0 or -errno and then has left a sentence in Launch.report. */

#include <libmount/libmount.h>
#include <seccomp.h>

#include "basic/macro.h"
#include "hypervisor/launch-protocol.h"

#define LAUNCH_PATHS_MAX 64

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

/* Notes what failed and returns -error. */
int launch_failed(Launch *l, int error, const char *format, ...) _printf_(3, 4);

/* Puts the process into a mount namespace with a root of its own: see there. */
int launch_mounts(Launch *l);

int launch_limits(Launch *l);

/* For good: uid, gid, no groups but those of its devices, no capability in any set, no_new_privs. */
int launch_drop_privileges(Launch *l);

/* Builds the filter (slow, before the release) and loads it (last, before exec). */
int launch_seccomp_new(Launch *l, scmp_filter_ctx *ret);
int launch_seccomp_load(Launch *l, scmp_filter_ctx filter);
