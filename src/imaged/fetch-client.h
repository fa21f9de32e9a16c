/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-imaged's end of fetch-protocol.h: one connection, one question at a time. Nothing here waits. */

#include <systemd/sd-event.h>

#include "imaged/fetch-protocol.h"

typedef struct FetchClient FetchClient;

typedef struct FetchAnswer {
        const FetchMessage *message; /* NULL: the other end is gone, or talks nonsense; error says which */
        int error;                   /* -ECONNRESET, -EBADMSG */
        int *fds;                    /* -EBADF in the place of one that was taken; the others are closed */
        size_t n_fds;
} FetchAnswer;

/* For every message. It may free the client. */
typedef void (*fetch_answer_t)(const FetchAnswer *answer, void *userdata);

/* -ENOENT, -ECONNREFUSED: nobody listens; -EAGAIN: too many are connected. */
int fetch_client_new(sd_event *event, fetch_answer_t answer, void *userdata, FetchClient **ret);
FetchClient *fetch_client_free(FetchClient *c); /* ends what is under way */
DEFINE_TRIVIAL_CLEANUP_FUNC(FetchClient *, fetch_client_free);

int fetch_client_inspect(FetchClient *c, const char *location);
int fetch_client_copy(FetchClient *c, uint64_t max_bytes, const char *location);
