/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the monitors of all VMMs have in common: a stream of lines in both directions, calls that are answered by
 * number, and the end of it all. A driver's monitor begins with a VmmConnection, which begins with the
 * VmmMonitor.
 *
 * The VMM is hostile: a line is at most 1 MiB, what it does not read is at most 64 KiB, calls without an answer
 * are at most 64. Any callback may free the monitor; nothing here touches it afterwards. */

#include <sys/queue.h>

#include "hypervisor/hypervisor.h"

#define CONNECTION_LINE_MAX (1024u * 1024u)
#define CONNECTION_OUTPUT_MAX (64u * 1024u)
#define CONNECTION_CALLS_MAX 64u

typedef struct VmmConnection VmmConnection;

typedef struct VmmCall {
        uint64_t id;
        int kind; /* the driver's */
        vmm_done_t done;
        void *userdata;
        LIST_ENTRY(VmmCall) calls;
} VmmCall;

/* One line without its end; the driver may change it. -errno: nonsense, the connection is lost. */
typedef int (*vmm_line_t)(VmmConnection *c, char *line, size_t n);

struct VmmConnection {
        VmmMonitor monitor;
        vmm_line_t line;
        int fd;
        sd_event_source *io;
        bool lost;
        bool *freed; /* on the stack of whoever is in the middle of calling back */

        char *in;
        size_t n_in, in_allocated, in_scanned;
        char *out;
        size_t n_out, out_allocated;
        int out_fd;        /* ours; goes with the byte at out_fd_at */
        size_t out_fd_at;

        uint64_t next_id;
        size_t n_calls;
        LIST_HEAD(, VmmCall) calls;
};

/* Takes fd over on success. */
int vmm_connection_init(VmmConnection *c, const Hypervisor *h, sd_event *event, int fd, vmm_line_t line,
                        vmm_event_t callback, void *userdata);
void vmm_connection_done(VmmConnection *c);

/* A whole message, with a copy of pass_fd beside it (negative: none). 0, -ENOTCONN, -ENOBUFS; -EBUSY: another fd has not gone out
 * yet. */
int vmm_connection_send(VmmConnection *c, const char *p, size_t n, int pass_fd);

/* Notes that a call is under way: before it is sent, so that *ret_id can be in it. Ids are unlike those of any
 * other process that has used the same connection before. */
int vmm_connection_call(VmmConnection *c, int kind, vmm_done_t done, void *userdata, VmmCall **ret);
/* Removes and frees a call that could not be sent. */
void vmm_connection_cancel(VmmConnection *c, VmmCall *call);
VmmCall *vmm_connection_find(VmmConnection *c, uint64_t id);
/* Removes the call and answers it. */
void vmm_connection_answer(VmmConnection *c, VmmCall *call, int error, const char *text);

void vmm_connection_event(VmmConnection *c, VmmEvent event);
