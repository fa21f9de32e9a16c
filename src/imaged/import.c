/* SPDX-License-Identifier: Apache-2.0 */

/* Imports: the work of a job that makes an image of a tar. */

#include <inttypes.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/imaged.h"
#include "shared/error-names.h"
#include "shared/log.h"

typedef struct Import {
        Job *job;
        Imaged *imaged;
        Build *build;
} Import;

static void import_free(void *work) {
        Import *i = work;

        i->imaged->n_imports--;
        build_free(i->build);
        free(i);
}

const char *import_error_name(int error) {
        switch (error) {
        case -ENOSPC:
                return ERROR_NO_CAPACITY;
        case -EDQUOT:
                return ERROR_LIMIT_EXCEEDED;
        default:
                return ERROR_IMPORT_FAILED;
        }
}

static void on_progress(uint64_t bytes, uint32_t entries, void *userdata) {
        Import *i = userdata;

        job_set_progress(i->job, bytes, i->job->total);
}

static int put_rootfs(Import *i, const BuildResult *result) {
        uint64_t now = now_usec(CLOCK_REALTIME);
        ImageRecord record = {
                .size = result->size, .entries = result->entries, .created = now, .pulled = now, .last_used = now,
        };

        (void) snprintf(record.digest, sizeof(record.digest), "%s", result->digest);
        (void) snprintf(record.content, sizeof(record.content), "%s", result->digest);
        return catalog_put(&i->imaged->catalog, &record, i->job->reference, NULL);
}

static void on_rootfs(const BuildResult *result, void *userdata) {
        Import *i = userdata;
        Imaged *m = i->imaged;
        int r;

        i->build = NULL; /* frees itself */
        if (result->error < 0)
                return job_fail(i->job, import_error_name(result->error), result->sentence);
        r = put_rootfs(i, result);
        if (r < 0) {
                log_error_errno(r, "Failed to write the record of %s: %m", i->job->reference);
                return job_fail(i->job, import_error_name(r),
                                r == -EDQUOT ? "There are too many images already, remove one first."
                                             : "What is known of the image could not be written.");
        }
        log_info("Image %s is %s, %" PRIu32 " entries, %" PRIu64 " bytes.", i->job->reference, result->digest,
                        result->entries, result->size);
        if (result->dropped_xattrs > 0)
                log_notice("%" PRIu32 " extended attributes of %s (POSIX ACLs) have no place in a SquashFS and were left out.",
                                result->dropped_xattrs, i->job->reference);
        job_done(i->job, result->digest);
        /* What the tag pointed at before. */
        collect_images(m);
}

static int start_rootfs(Import *i, int tar_fd) {
        char entries[16], bytes[24];
        const char *const arguments[] = { "tar", entries, bytes, NULL };
        const BuildRequest request = {
                .argv = arguments, .input_fd = tar_fd, .progress = on_progress, .done = on_rootfs, .userdata = i,
        };
        const ImagesConfig *c = &i->imaged->config;

        (void) snprintf(entries, sizeof(entries), "%u", c->entries_max);
        (void) snprintf(bytes, sizeof(bytes), "%" PRIu64, MIN2(c->image_size_max, UINT64_C(1) << 60));
        job_set_step(i->job, STEP_CONVERT);
        return build_start(i->imaged->event, i->imaged->store, &request, &i->build);
}

int import_new(Imaged *m, const char *reference, const char *platform, const char *sender, int tar_fd, Job **ret,
                sd_bus_error *error) {
        _cleanup_(job_freep) Job *j = NULL;
        Import *i;
        int r;

        if (m->n_imports >= IMPORTS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u imports are running already, try again later.",
                                IMPORTS_MAX);
        r = job_new(m, JOB_IMPORT, reference, platform, &j, error);
        if (r >= 0)
                r = job_request(j, sender, error);
        if (r < 0)
                return r;
        i = new0(Import, 1);
        if (!i)
                return -ENOMEM;
        *i = (Import) { .job = j, .imaged = m };
        m->n_imports++;
        j->work = i;
        j->stop = import_free;
        r = start_rootfs(i, tar_fd);
        if (r < 0)
                return sd_bus_error_setf(error, import_error_name(r), "The import cannot be started: %s.", strerror(-r));
        *ret = TAKE_PTR(j);
        return 0;
}
