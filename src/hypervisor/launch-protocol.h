/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between vmm-process.c (daemon) and hero-vmm-launch. Both come from the same build.
 *
 * A launcher is started for every kind of root a VMM may have (one or two in all), with a SOCK_SEQPACKET socket at
 * fd 3, and lives until that is closed. A request is one datagram of words, each with its NUL:
 *
 *     N_FDS UID GID [path=P…] [device=P…] [proc] -- PROGRAM ARG…
 *
 * with N_FDS + 2 fds attached: the VMM's, which become 3 … 3 + N_FDS - 1 of it, then the control socket, then the
 * write end of the errors pipe. The answer is a LaunchReply, with the pidfd attached when error is 0: a process
 * which is the daemon's own child (CLONE_PARENT), builds its sandbox, and waits.
 *
 * On the control socket, daemon → process: one LAUNCH_GO byte. Process → daemon: one LaunchReport with error 0
 * immediately before execve(), or one with an error and a sentence, which may come before the release. */

#include <stdint.h>

#define LAUNCH_PROGRAM "hero-vmm-launch"
#define LAUNCH_SERVER_FD 3
#define LAUNCH_FD_FIRST 3
#define LAUNCH_FDS_MAX 32
#define LAUNCH_REQUEST_MAX 65536
#define LAUNCH_GO 'G'

#define LAUNCH_PATH "path="
#define LAUNCH_DEVICE "device="
#define LAUNCH_PROC "proc"
#define LAUNCH_COMMAND "--"

/* In every VMM's root, besides the devices of its sandbox. */
#define LAUNCH_DEVICES "/dev/null", "/dev/urandom"

typedef struct LaunchReply {
        int32_t error; /* errno */
        int32_t pid;
} LaunchReply;

typedef struct LaunchReport {
        int32_t error;  /* errno; 0: about to execute the VMM */
        char text[252]; /* a sentence */
} LaunchReport;
