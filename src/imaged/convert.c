/* SPDX-License-Identifier: Apache-2.0 */

/* From layers to an image, see the header. */

#include "imaged/convert.h"

#include <inttypes.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/worker-run.h"
#include "shared/error-names.h"
#include "shared/log.h"

struct Conversion {
        Job *job;
        Build *build;
        ImageRecord record;
        uint64_t total;
};

Conversion *conversion_free(Conversion *c) {
        if (!c)
                return NULL;
        build_free(c->build);
        image_record_done(&c->record);
        return mfree(c);
}

static void on_progress(uint64_t bytes, uint32_t entries, void *userdata) {
        Conversion *c = userdata;

        job_set_progress(c->job, MIN2(bytes, c->total), c->total);
}

static void on_layer(uint32_t layer, void *userdata) {
        Conversion *c = userdata;

        job_set_layers(c->job, MIN2(layer + 1, c->record.layers), c->record.layers);
}

static const char *error_name(const Job *j, int error) {
        switch (error) {
        case -ENOSPC:
                return ERROR_NO_CAPACITY;
        case -EDQUOT:
                return ERROR_LIMIT_EXCEEDED;
        default:
                return j->type == JOB_PULL ? ERROR_BAD_IMAGE : ERROR_IMPORT_FAILED;
        }
}

void job_done_with(Job *j, Image *image) {
        const char *platform = strempty(image->record.config.platform);
        Imaged *m = j->imaged;
        int r;

        if (!oci_platform_matches(j->platform, platform)) {
                _cleanup_free_ char *why = strprintf("The image is for %s, not for %s.", platform, j->platform);

                return job_fail(j, ERROR_NO_SUCH_IMAGE, why ?: "The image is for another platform.");
        }

        r = catalog_set_tag(&m->catalog, j->reference, image);
        if (r < 0)
                return job_fail(j, r == -EDQUOT ? ERROR_LIMIT_EXCEEDED : error_name(j, r),
                                r == -EDQUOT ? "There are too many tags already, remove one first."
                                             : "The tag of the image could not be written.");
        catalog_pulled(&m->catalog, image);
        log_info("Image %s is %s, which was here already.", j->reference, image->record.digest);
        job_done(j, image->record.digest);
        collect_images(m);
}

static void on_built(const BuildResult *result, void *userdata) {
        char digest[DIGEST_LENGTH + 1];
        Conversion *c = userdata;
        Job *j = c->job;
        Imaged *m = j->imaged;
        int r;

        c->build = NULL; /* frees itself */
        if (result->error < 0)
                return job_fail(j, error_name(j, result->error), result->sentence);
        job_set_step(j, STEP_STORE);
        strcpy(digest, c->record.digest);
        strcpy(c->record.content, result->digest);
        c->record.size = result->size;
        c->record.entries = result->entries;
        r = catalog_put(&m->catalog, &c->record, j->reference, NULL);
        if (r < 0) {
                log_error_errno(r, "Failed to write the record of %s: %m", j->reference);
                return job_fail(j, error_name(j, r),
                                r == -EDQUOT ? "There are too many images already, remove one first."
                                             : "What is known of the image could not be written.");
        }
        log_info("Image %s is %s, %" PRIu32 " entries, %" PRIu64 " bytes.", j->reference, digest, result->entries,
                        result->size);
        if (result->dropped_xattrs > 0)
                log_notice("%" PRIu32 " extended attributes of %s have no place in a SquashFS and were left out.",
                                result->dropped_xattrs, j->reference);
        job_done(j, digest);
        collect_images(m); /* what the tag pointed at before */
}

static const char *hex_of(const char *digest) {
        return digest ? digest + strlen(DIGEST_PREFIX) : "-";
}

/* FD:OFFSET:SIZE:HEX:HEX, the fd being the one in the worker. */
static int add_layer(char ***argv, int *fds, size_t *n_fds, const LayerBlob *l) {
        size_t k = 0;

        while (k < *n_fds && fds[k] != l->fd)
                k++;
        if (k == *n_fds) {
                if (k == WORKER_RUN_FDS_MAX)
                        return -E2BIG;
                fds[(*n_fds)++] = l->fd;
        }
        return strv_extendf(argv, "%zu:%" PRIu64 ":%" PRIu64 ":%s:%s", WORKER_LAYERS_FD + k, l->offset, l->size,
                        hex_of(l->digest), hex_of(l->diff_id));
}

static int start_worker(Conversion *c, const LayerBlob *layers, size_t n_layers) {
        const ImagesConfig *config = &c->job->imaged->config;
        _cleanup_strv_free_ char **argv = NULL;
        int r, fds[WORKER_RUN_FDS_MAX];
        BuildRequest request = {
                .input_fd = -EBADF, .fds = fds, .progress = on_progress, .layer = on_layer, .done = on_built, .userdata = c,
        };

        r = strv_extend(&argv, "layers");
        if (r >= 0)
                r = strv_extendf(&argv, "%u", config->entries_max);
        if (r >= 0)
                r = strv_extendf(&argv, "%" PRIu64, MIN2(config->image_size_max, UINT64_C(1) << 60));
        for (size_t i = 0; r >= 0 && i < n_layers; i++) {
                c->total += layers[i].size;
                r = add_layer(&argv, fds, &request.n_fds, layers + i);
        }
        if (r < 0)
                return r;
        request.argv = (const char *const *) argv;
        job_set_step(c->job, STEP_CONVERT);
        job_set_progress(c->job, 0, c->total);
        job_set_layers(c->job, 0, (uint32_t) n_layers);
        return build_start(c->job->imaged->event, c->job->imaged->store, &request, &c->build);
}

int conversion_start(Job *job, const char *digest, ImageConfig *config, const LayerBlob *layers, size_t n_layers,
                Conversion **ret) {
        _cleanup_(conversion_freep) Conversion *c = NULL;
        uint64_t now = now_usec(CLOCK_REALTIME);
        int r;

        c = new(Conversion, 1);
        if (!c) {
                image_config_done(config);
                return -ENOMEM;
        }
        *c = (Conversion) {
                .job = job,
                .record = { .created = config->created, .pulled = now, .last_used = now, .has_config = true,
                            .layers = (uint32_t) n_layers, .config = *config },
        };
        *config = (ImageConfig) {};
        (void) snprintf(c->record.digest, sizeof(c->record.digest), "%s", digest);
        r = start_worker(c, layers, n_layers);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}
