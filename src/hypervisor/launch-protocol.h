/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the daemon (launcher.c, vmm-process.c) and hero-vmm-launch. Both come from the same build.
 *
 * A launcher is started for every kind of root a VMM may have (one or two in all), with a SOCK_SEQPACKET socket at
 * fd 3, and lives until that is closed. Each datagram asks for a process and says what its root shows, in words, each
 * with its NUL; it is the same every time:
 *
 *     [path=P…] [device=P…] [proc] -- PROGRAM
 *
 * The answer is a LaunchReply with, when error is 0, the pidfd and the control socket (SOCK_SEQPACKET) of a process which is
 * the daemon's own child (CLONE_PARENT) and waits. It is ordered in advance, before there is a VM that wants it.
 *
 * On the control socket, daemon → process: first the request, one datagram of words
 *
 *     N_FDS UID GID N_LOAD [path=P…] [device=P…] [proc] -- PROGRAM ARG…
 *
 * with N_FDS + N_LOAD + 1 fds attached: the VMM's, which become 3 … 3 + N_FDS - 1 of it; for a guest that slept on disk
 * (N_LOAD is 2, else 0) the memory image and the memory to fill from it; then the write end of the errors pipe. The process
 * builds its sandbox and waits for the second: one LAUNCH_GO byte. Process → daemon: one LaunchReport with error 0 immediately
 * before execve(), or one with an error and a sentence, which may come before the release. For a guest that slept on disk
 * there is another one, of a process that fills the memory beside the VMM, in its scope, from the release on. */

#include <stdint.h>

#define LAUNCH_PROGRAM "hero-vmm-launch"
#define LAUNCH_SERVER_FD 3
#define LAUNCH_FD_FIRST 3
#define LAUNCH_FDS_MAX 32
#define LAUNCH_N_LOAD 2
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
        int32_t error;  /* errno; 0: about to execute the VMM, or: */
        int32_t loaded; /* 1: the memory is filled */
        char text[248]; /* a sentence */
} LaunchReport;
