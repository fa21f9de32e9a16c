/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What hero-image-worker writes to its status fd, line by line, and hero-imaged reads. The worker may have
 * been taken over by the archive it reads: whatever it says is checked, and believed only where it concerns
 * the import itself (the digest, for one, is taken by another process that never saw the archive).
 *
 *   progress BYTES ENTRIES
 *   layer N                            the Nth layer, from 0, is done; in order
 *   entry OFFSET SIZE NAME             of "index", at most WORKER_ENTRIES_MAX
 *   done ENTRIES BYTES DROPPED         the last line
 *   error ERRNO SENTENCE               the last line
 */

#include "basic/macro.h"

#define WORKER_LINE_MAX 1024u
#define WORKER_ENTRIES_MAX 4096u
#define WORKER_NAME_MAX 255u

/* The worker's fds. */
enum {
        WORKER_INPUT_FD = 0,  /* tar, index: the archive */
        WORKER_OUTPUT_FD = 3, /* the file to fill; digest: to read */
        WORKER_STATUS_FD = 4,
        WORKER_LAYERS_FD = 5, /* layers: the first of the blobs' */
};

typedef enum WorkerLineType {
        WORKER_PROGRESS,
        WORKER_LAYER,
        WORKER_ENTRY,
        WORKER_DONE,
        WORKER_ERROR,
} WorkerLineType;

typedef struct WorkerLine {
        WorkerLineType type;
        uint64_t bytes; /* entry: its size */
        uint64_t offset;
        uint32_t entries; /* layer: its number */
        uint32_t dropped;
        int error; /* positive errno */
        union {
                const char *sentence; /* point into the line */
                const char *name;
        };
} WorkerLine;

/* Names of entries are those that documents of an image refer to: words of [A-Za-z0-9._@:+-], with "/" in
 * between, none of them "." or "..", and not too long. */
bool worker_name_is_valid(const char *name);

/* Without the newline. -EBADMSG: not such a line. */
int worker_line_parse(const char *line, WorkerLine *ret);

/* With the newline; what does not fit is cut. Returns the length. */
size_t worker_line_format(const WorkerLine *l, char buf[static WORKER_LINE_MAX]);
