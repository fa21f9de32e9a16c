/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Exec sessions: a process of the image whose streams go through the agent channel.
 *
 * Handlers only note what happened; sessions_pump() does all the work, a bounded piece at a time. Memory per
 * session is bounded by one window of stdin; output is read only when it can be queued for the host. */

#include "guest-init/guest.h"

/* EXEC. Answers with EXEC_FAILED when nothing can be started; STARTED comes when the program was executed. */
void session_exec(Guest *g, uint32_t stream, const uint8_t *payload, size_t n);

/* Frames for a session; of an unknown one they are ignored, for it may have ended while they were on the way. */
void session_stdin(Guest *g, uint32_t stream, const uint8_t *payload, size_t n);
void session_resize(Guest *g, uint32_t stream, const uint8_t *payload, size_t n);
void session_signal(Guest *g, uint32_t stream, const uint8_t *payload, size_t n);
void session_window(Guest *g, uint32_t stream, const uint8_t *payload, size_t n);
void session_close(Guest *g, uint32_t stream);

/* The process pid ended with this wait status. True when it was the leader of a session. */
bool sessions_reaped(Guest *g, pid_t pid, int status);

/* Moves data, ends what has ended. True when something moved and there may be more at once. */
bool sessions_pump(Guest *g, uint64_t now);

/* When sessions_pump() must be called again though nothing happens; USEC_INFINITY: never. */
uint64_t sessions_deadline(Guest *g);

/* SIGHUP for interactive programs, which ignore the SIGTERM of a shutdown. */
void sessions_hangup(Guest *g);

/* One STREAM field per session. */
void sessions_write_state(Guest *g, GpWriter *w);
