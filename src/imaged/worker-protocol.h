/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hero-image-worker writes to its status fd, line by line, and hero-imaged reads. The worker may have
 * been taken over by the archive it reads: whatever it says is checked, and believed only where it concerns
 * the import itself (the digest, for one, is taken by another process that never saw the archive).
 *
 *   progress BYTES ENTRIES
 *   done ENTRIES BYTES DROPPED         the last line
 *   error ERRNO SENTENCE               the last line
 */

#include "basic/macro.h"

#define WORKER_LINE_MAX 1024u

/* The worker's fds. */
enum {
        WORKER_INPUT_FD = 0,  /* tar: the archive */
        WORKER_OUTPUT_FD = 3, /* the file to fill; digest: to read */
        WORKER_STATUS_FD = 4,
};

typedef enum WorkerLineType {
        WORKER_PROGRESS,
        WORKER_DONE,
        WORKER_ERROR,
} WorkerLineType;

typedef struct WorkerLine {
        WorkerLineType type;
        uint64_t bytes;
        uint32_t entries;
        uint32_t dropped;
        int error;            /* positive errno */
        const char *sentence; /* points into the line */
} WorkerLine;

/* Without the newline. -EBADMSG: not such a line. */
int worker_line_parse(const char *line, WorkerLine *ret);

/* With the newline; what does not fit is cut. Returns the length. */
size_t worker_line_format(const WorkerLine *l, char buf[static WORKER_LINE_MAX]);
