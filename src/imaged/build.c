/* SPDX-License-Identifier: Apache-2.0 */

/* Builds, see the header. Owned by imports, pulls and by the built-in image. */

#include "imaged/build.h"

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/worker-run.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/program-path.h"

#define DIGEST_TIMEOUT (3600 * USEC_PER_SEC)

struct Build {
        sd_event *event;
        ImageStore *store;
        StoreFile file;
        WorkerRun *worker;
        Child *digest;
        WorkerLine last; /* what the worker said at its end */

        build_progress_t progress;
        build_layer_t layer;
        build_done_t done;
        void *userdata;
};

Build *build_free(Build *b) {
        if (!b)
                return NULL;
        worker_run_free(b->worker);
        child_free(b->digest);
        image_store_discard(b->store, &b->file);
        sd_event_unref(b->event);
        return mfree(b);
}

static void build_end(Build *b, const BuildResult *result) {
        _cleanup_(build_freep) Build *owned = b;

        b->done(result, b->userdata);
}

static void build_fail(Build *b, int error, const char *sentence) {
        build_end(b, &(BuildResult) { .error = error, .sentence = sentence ?: "Out of memory." });
}

/* "sha256:HEX SIZE\n" of our own program, about what is ours alone by now. */
static int parse_digest(const char *output, char digest[static DIGEST_LENGTH + 1], uint64_t *ret_size) {
        const char *space = strchr(output, ' ');
        char size[24];
        size_t n;

        if (!space || space - output != (ptrdiff_t) DIGEST_LENGTH)
                return -EBADMSG;
        memcpy(digest, output, DIGEST_LENGTH);
        digest[DIGEST_LENGTH] = 0;
        n = strcspn(space + 1, "\n");
        if (n >= sizeof(size) || !digest_is_valid(digest))
                return -EBADMSG;
        memcpy(size, space + 1, n);
        size[n] = 0;
        return parse_uint64(size, ret_size);
}

static void on_digest(int status, const char *output, void *userdata) {
        BuildResult result = {};
        char digest[DIGEST_LENGTH + 1];
        Build *b = userdata;
        int r;

        b->digest = NULL;
        if (status != 0 || parse_digest(output, digest, &result.size) < 0) {
                log_error("Failed to take the digest of a new image (status %d): %.200s", status, output);
                return build_fail(b, -EIO, "The new image could not be read back.");
        }
        r = image_store_commit(b->store, &b->file, digest);
        if (r < 0) {
                log_error_errno(r, "Failed to put a new image into the store: %m");
                return build_fail(b, r, "The new image could not be put into the store.");
        }
        result.digest = digest;
        result.entries = b->last.entries;
        result.dropped_xattrs = b->last.dropped;
        build_end(b, &result);
}

static int build_digest(Build *b) {
        _cleanup_free_ char *path = program_path(WORKER);
        char *argv[] = { path, (char *) "digest", NULL };

        if (!path)
                return -ENOMEM;
        return child_run(b->event, argv, b->file.fd, DIGEST_TIMEOUT, on_digest, b, &b->digest);
}

static int on_line(const WorkerLine *l, void *userdata) {
        Build *b = userdata;

        if (l->type == WORKER_PROGRESS && b->progress)
                b->progress(l->bytes, l->entries, b->userdata);
        else if (l->type == WORKER_LAYER && b->layer)
                b->layer(l->entries, b->userdata);
        else if (l->type == WORKER_ENTRY)
                return -EBADMSG;
        return 0;
}

static void on_end(int error, const char *sentence, const WorkerLine *last, void *userdata) {
        Build *b = userdata;
        int r;

        b->worker = NULL; /* frees itself */
        if (error < 0)
                return build_fail(b, error, sentence);
        b->last = *last;
        r = build_digest(b);
        if (r < 0) {
                log_error_errno(r, "Failed to run the image worker: %m");
                build_fail(b, r, "The new image could not be read back.");
        }
}

int build_start(sd_event *event, ImageStore *store, const BuildRequest *q, Build **ret) {
        WorkerRequest request = {
                .argv = q->argv, .input_fd = q->input_fd, .fds = q->fds, .n_fds = q->n_fds, .line = on_line, .end = on_end,
        };
        _cleanup_(build_freep) Build *b = NULL;
        int r;

        b = new(Build, 1);
        if (!b)
                return -ENOMEM;
        *b = (Build) {
                .event = sd_event_ref(event),
                .store = store,
                .file.fd = -EBADF,
                .progress = q->progress,
                .layer = q->layer,
                .done = q->done,
                .userdata = q->userdata,
        };
        r = image_store_create(store, &b->file);
        if (r < 0)
                return r;
        request.output_fd = b->file.fd;
        request.userdata = b;
        r = worker_run(event, &request, &b->worker);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}
