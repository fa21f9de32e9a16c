/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One run of hero-image-worker beside the event loop: its fds, its lines (worker-protocol.h), its end. Freeing it at any time
 * kills the worker. */

#include <systemd/sd-event.h>

#include "imaged/worker-protocol.h"

typedef struct WorkerRun WorkerRun;

#define WORKER_RUN_FDS_MAX 256u

/* For each line but the last. < 0: it is not one that this worker may say. */
typedef int (*worker_line_t)(const WorkerLine *line, void *userdata);

/* error 0: last is its line "done". Else a sentence says what was wrong (NULL: out of memory). The run is freed afterwards. */
typedef void (*worker_end_t)(int error, const char *sentence, const WorkerLine *last, void *userdata);

typedef struct WorkerRequest {
        const char *const *argv;  /* from its first argument */
        int input_fd, output_fd;  /* WORKER_INPUT_FD, WORKER_OUTPUT_FD; -EBADF: nothing */
        const int *fds;           /* WORKER_LAYERS_FD and up */
        size_t n_fds;
        worker_line_t line;
        worker_end_t end;
        void *userdata;
} WorkerRequest;

/* Nothing of the request is kept. */
int worker_run(sd_event *event, const WorkerRequest *request, WorkerRun **ret);
WorkerRun *worker_run_free(WorkerRun *w); /* calls nothing */
DEFINE_TRIVIAL_CLEANUP_FUNC(WorkerRun *, worker_run_free);

#define WORKER "hero-image-worker"
