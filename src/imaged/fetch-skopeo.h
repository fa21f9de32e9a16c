/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One run of skopeo beside the event loop, in a directory of its own: what it writes there is looked at from time to time,
 * and when it is too much, too little for too long, or the disk gets full, it is ended. */

#include <systemd/sd-event.h>

#include "imaged/fetch-protocol.h"
#include "imaged/images-config.h"

typedef struct Skopeo Skopeo;

typedef struct SkopeoRequest {
        const char *location;
        bool copy;          /* to the directory "image", as an OCI layout, for that skopeo fills with several layers at a
                             * time (and with no name out of a manifest, as it does a "dir:"); else inspect, to the file
                             * "document" */
        uint64_t max_bytes; /* of all it writes */
        int dir_fd;         /* the directory, */
        const char *directory; /* which has this path and holds registries.conf */
        const char *auth_file; /* NULL: none */
        const ImagesConfig *config;
        void (*progress)(uint64_t bytes, unsigned blobs, void *userdata);
        /* error is < 0 when it succeeded. The Skopeo is freed afterwards. */
        void (*done)(FetchError error, const char *sentence, void *userdata);
        void *userdata;
} SkopeoRequest;

/* The request is copied, what it points to must stay. */
int skopeo_run(sd_event *event, const SkopeoRequest *request, Skopeo **ret);
Skopeo *skopeo_free(Skopeo *s); /* kills what runs, calls nothing */
DEFINE_TRIVIAL_CLEANUP_FUNC(Skopeo *, skopeo_free);

#define SKOPEO_DOCUMENT "document"
#define SKOPEO_IMAGE "image"
#define SKOPEO_BLOBS SKOPEO_IMAGE "/blobs/sha256"
#define SKOPEO_REGISTRIES "registries.conf"
