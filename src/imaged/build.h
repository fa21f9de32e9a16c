/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Making one content of the store: a worker fills a file, a second process that never saw the archive takes
 * the digest and syncs it, the store gets it. Nothing here waits; freeing a build at any time leaves
 * nothing. */

#include <systemd/sd-event.h>

#include "basic/macro.h"
#include "imaged/image-store.h"

typedef struct Build Build;

typedef struct BuildResult {
        int error;            /* 0: the content is in the store */
        const char *sentence; /* when there is an error */
        const char *digest;
        uint64_t size;
        uint32_t entries;
        uint32_t dropped_xattrs;
} BuildResult;

typedef void (*build_progress_t)(uint64_t bytes, uint32_t entries, void *userdata);

/* The build is freed after this has returned; result lives as long. */
typedef void (*build_done_t)(const BuildResult *result, void *userdata);

/* argv: of the worker, from its first argument. input_fd (or -EBADF) becomes its standard input, it is not
 * kept. */
int build_start(sd_event *event, ImageStore *store, const char *const *argv, int input_fd,
                build_progress_t progress, build_done_t done, void *userdata, Build **ret);
Build *build_free(Build *b); /* kills what runs, calls nothing */
DEFINE_TRIVIAL_CLEANUP_FUNC(Build *, build_free);
