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
typedef void (*build_layer_t)(uint32_t layer, void *userdata);

/* The build is freed after this has returned; result lives as long. */
typedef void (*build_done_t)(const BuildResult *result, void *userdata);

typedef struct BuildRequest {
        const char *const *argv; /* of the worker, from its first argument */
        int input_fd;            /* its standard input; -EBADF: none */
        const int *fds;          /* its fds from WORKER_LAYERS_FD on, at most WORKER_RUN_FDS_MAX */
        size_t n_fds;
        build_progress_t progress; /* may be NULL, as the next */
        build_layer_t layer;       /* one more is done, counted from 0 */
        build_done_t done;
        void *userdata;
} BuildRequest;

/* Nothing of the request is kept. */
int build_start(sd_event *event, ImageStore *store, const BuildRequest *request, Build **ret);
Build *build_free(Build *b); /* kills what runs, calls nothing */
DEFINE_TRIVIAL_CLEANUP_FUNC(Build *, build_free);
