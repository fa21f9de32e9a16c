/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Carries bytes between file descriptors on an event loop: one Flow is one direction with a bounded buffer. A
 * slow reader holds its writer up and nothing is lost; neither end is ever waited for. Works with pipes, sockets,
 * terminals and files, and leaves the flags of descriptors shared with others (stdin!) alone. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Flow Flow;

/* Called once, when all has been written after the end of file (error 0) or an end failed (-errno, -EPIPE when
 * the reader went away). The flow may be freed from here. */
typedef void (*FlowDone)(Flow *f, int error, void *userdata);

/* May change the n bytes at p (never to more than n + FLOW_FILTER_EXTRA), returns how many there are now. Bytes
 * it has not been asked about follow in the next call. */
#define FLOW_FILTER_EXTRA 64u
typedef size_t (*FlowFilter)(Flow *f, char *p, size_t n, void *userdata);

/* Duplicates both descriptors; the caller's stay the caller's. */
int flow_new(sd_event *event, int from, int to, FlowDone done, void *userdata, Flow **ret);
Flow *flow_free(Flow *f);
DEFINE_TRIVIAL_CLEANUP_FUNC(Flow *, flow_free);
#define _cleanup_flow_ _cleanup_(flow_freep)

void flow_set_filter(Flow *f, FlowFilter filter);

/* Reads no more; what is in the buffer is still written, then done is called. A filter may
 * call it. */
void flow_finish(Flow *f);
