/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Everything hero-init is and has, in one place: there is one guest, one loop, one channel. */

#include <sys/queue.h>

#include "guest-init/boot-config.h"
#include "guest-init/channel.h"
#include "guest-init/event.h"
#include "guest-init/mounts.h"
#include "guest-protocol/guest-protocol.h"

typedef struct Session Session;
TAILQ_HEAD(SessionList, Session);

typedef enum PowerStage {
        POWER_ON,
        POWER_ASKING,      /* the command was sent its stop signal, or PID 1 was asked, and has time */
        POWER_TERMINATING, /* SIGTERM was sent to everybody */
        POWER_KILLING,     /* SIGKILL was */
        POWER_DOWN,        /* nothing runs any more, or refuses to end */
} PowerStage;

/* The image's own init, if it is that which runs. */
typedef enum InitKind {
        INIT_NONE,
        INIT_SYSTEMD,
        INIT_OPENRC,
        INIT_BUSYBOX,
        INIT_SYSV,
} InitKind;

typedef struct Guest {
        char *argv0;           /* as ps shows it; may be written to */
        int epoll_fd;
        GpPhase phase;
        BootConfig config;
        Root root;

        Source uevents;        /* until the port is found */
        Source signals;
        Source port;           /* the agent port; channel.fd is the same fd */
        Channel channel;

        struct SessionList sessions;
        unsigned n_sessions;

        pid_t command_pid;     /* the VM's own command; 0: none */
        Source command_error;  /* reads as EOF once it, or the image's init, was executed */
        InitKind init;
        bool init_runs;        /* we are the agent, and not PID 1 */

        Source console;        /* while waiting for Enter */
        pid_t console_pid;     /* the shell on the console; 0: none */

        PowerStage power;
        GpShutdown power_mode;
        uint64_t power_deadline;
        bool children;         /* false once waitpid() says that there are none */
} Guest;

/* A frame without payload, or what was written: queued for the host. Out of memory ends in a log line: there is
 * nobody else to tell. */
void guest_send(Guest *g, GpWriter *w);

/* The one GpWriter (32 KiB) for frames that are sent at once. */
GpWriter *guest_writer(GpType type, uint32_t stream);

/* A line on the console, for the owner of the VM. */
void guest_log(const char *format, ...) _printf_(1, 2);
