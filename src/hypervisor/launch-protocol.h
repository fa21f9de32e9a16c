/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between vmm-process.c (daemon) and hero-vmm-launch. Both come from the same build.
 *
 *     hero-vmm-launch N_FDS UID GID [path=P…] [device=P…] [proc] -- PROGRAM ARG…
 *
 * with the VMM's fds at 3 … 3 + N_FDS - 1 and the control fd, a SOCK_SEQPACKET socket, right behind them. Daemon
 * → launcher: one LAUNCH_GO byte. Launcher → daemon: one LaunchReport with error 0 immediately before execve(),
 * or one with an error and a sentence. */

#include <stdint.h>

#define LAUNCH_PROGRAM "hero-vmm-launch"
#define LAUNCH_FD_FIRST 3
#define LAUNCH_GO 'G'

#define LAUNCH_PATH "path="
#define LAUNCH_DEVICE "device="
#define LAUNCH_PROC "proc"
#define LAUNCH_COMMAND "--"

typedef struct LaunchReport {
        int32_t error;  /* errno; 0: about to execute the VMM */
        char text[252]; /* a sentence */
} LaunchReport;
