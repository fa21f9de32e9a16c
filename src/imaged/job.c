/* SPDX-License-Identifier: Apache-2.0 */

/* Jobs, see the header. */

#include "imaged/job.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/imaged.h"
#include "imaged/space.h"
#include "shared/error-names.h"
#include "shared/log.h"
#include "shared/peer-watch.h"

/* Progress is for people: no more often than they can read it, whatever a worker says. */
#define PROGRESS_INTERVAL (200 * USEC_PER_MSEC)

struct Request {
        TAILQ_ENTRY(Request) requests;
        Job *job;
        char *sender;
        unsigned count;
        PeerWatch *watch;
};

const char *job_type_to_string(JobType t) {
        return t == JOB_PULL ? "pull" : "import";
}

const char *job_step_to_string(JobStep s) {
        static const char *const words[_JOB_STEP_MAX] = { "wait", "resolve", "fetch", "convert", "store" };

        return words[s];
}

static void request_free(Request *q) {
        TAILQ_REMOVE(&q->job->requests, q, requests);
        q->job->n_requests--;
        peer_watch_free(q->watch);
        free(q->sender);
        free(q);
}

Job *job_free(Job *j) {
        if (!j)
                return NULL;
        if (j->stop)
                j->stop(j->work);
        audit_end(&j->audits, SD_BUS_ERROR_NO_REPLY, "hero-imaged ended before the job did.");
        TAILQ_REMOVE(&j->imaged->jobs, j, jobs);
        j->imaged->n_jobs--;
        while (!TAILQ_EMPTY(&j->requests))
                request_free(TAILQ_FIRST(&j->requests));
        return mfree(j);
}

void jobs_free(Imaged *m) {
        while (!TAILQ_EMPTY(&m->jobs))
                job_free(TAILQ_FIRST(&m->jobs));
}

static Job *job_find(Imaged *m, uint32_t id) {
        Job *j;

        TAILQ_FOREACH(j, &m->jobs, jobs)
                if (j->id == id)
                        return j;
        return NULL;
}

Job *job_find_pull(Imaged *m, const char *reference, const char *platform) {
        Job *j;

        TAILQ_FOREACH(j, &m->jobs, jobs)
                if (j->type == JOB_PULL && streq(j->reference, reference) && streq(j->platform, platform))
                        return j;
        return NULL;
}

int job_new(Imaged *m, JobType type, const char *reference, const char *platform, Job **ret, sd_bus_error *error) {
        Job *j;

        if (m->n_jobs >= JOBS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                "%u pulls and imports are under way already, try again later.", JOBS_MAX);
        j = new0(Job, 1);
        if (!j)
                return -ENOMEM;
        j->imaged = m;
        j->type = type;
        TAILQ_INIT(&j->requests);
        TAILQ_INIT(&j->audits);
        do
                m->last_job_id++;
        while (m->last_job_id == 0 || job_find(m, m->last_job_id));
        j->id = m->last_job_id;
        (void) snprintf(j->path, sizeof(j->path), IMAGE_JOB_PREFIX "/%u", j->id);
        (void) snprintf(j->reference, sizeof(j->reference), "%s", reference);
        (void) snprintf(j->platform, sizeof(j->platform), "%s", platform);
        TAILQ_INSERT_TAIL(&m->jobs, j, jobs);
        m->n_jobs++;
        *ret = j;
        return 0;
}

static void on_gone(void *userdata) {
        Request *q = userdata;
        Job *j = q->job;

        if (j->type == JOB_PULL)
                return request_free(q);
        log_info("Import %u of %s was canceled: its caller left the bus.", j->id, j->reference);
        job_end(j, "canceled", "The caller of the import left the bus.", "");
}

static Request *request_find(Job *j, const char *sender) {
        Request *q;

        TAILQ_FOREACH(q, &j->requests, requests)
                if (streq(q->sender, sender))
                        return q;
        return NULL;
}

int job_request(Job *j, const char *sender, sd_bus_error *error) {
        Request *q = request_find(j, sender);
        int r;

        if (q) {
                q->count++;
                return 0;
        }
        if (j->n_requests >= JOB_REQUESTS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u callers wait for this job already.",
                                JOB_REQUESTS_MAX);
        q = new0(Request, 1);
        if (!q)
                return -ENOMEM;
        q->job = j;
        q->count = 1;
        TAILQ_INSERT_TAIL(&j->requests, q, requests);
        j->n_requests++;
        q->sender = strdup(sender);
        r = q->sender ? peer_watch_new(j->imaged->bus, sender, on_gone, q, &q->watch) : -ENOMEM;
        if (r < 0)
                request_free(q);
        return r;
}

bool job_withdraw(Job *j, const char *sender) {
        Request *q = request_find(j, sender);

        if (!q)
                return false;
        if (--q->count == 0)
                request_free(q);
        return true;
}

static void log_unless_sent(int r, const char *what) {
        if (r < 0)
                log_debug_errno(r, "Failed to send %s: %m", what);
}

void job_announce(Job *j) {
        int r = space_watch(j->imaged);

        if (r < 0)
                log_warning_errno(r, "Failed to watch the disk: %m");
        log_info("%s %u of %s begins.", j->type == JOB_PULL ? "Pull" : "Import", j->id, j->reference);
        log_unless_sent(sd_bus_emit_object_added(j->imaged->bus, j->path), "InterfacesAdded");
        log_unless_sent(sd_bus_emit_signal(j->imaged->bus, IMAGES_OBJECT, IMAGES_INTERFACE, "JobNew", "uos", j->id,
                                        j->path, j->reference),
                        "JobNew");
}

static void announce_progress(Job *j, bool now) {
        uint64_t t = now_usec(CLOCK_MONOTONIC);

        if (!now && t - j->announced < PROGRESS_INTERVAL)
                return;
        j->announced = t;
        log_unless_sent(sd_bus_emit_properties_changed(j->imaged->bus, j->path, IMAGE_JOB_INTERFACE, "Step", "Progress",
                                        "Layers", NULL),
                        "PropertiesChanged");
}

void job_set_step(Job *j, JobStep step) {
        if (j->step == step)
                return;
        j->step = step;
        j->done = j->total = 0;
        j->layers_done = j->layers_total = 0;
        announce_progress(j, true);
}

void job_set_progress(Job *j, uint64_t done, uint64_t total) {
        if (j->done == done && j->total == total)
                return;
        j->done = done;
        j->total = total;
        announce_progress(j, false);
}

void job_set_layers(Job *j, uint32_t done, uint32_t total) {
        if (j->layers_done == done && j->layers_total == total)
                return;
        j->layers_done = done;
        j->layers_total = total;
        announce_progress(j, false);
}

void job_end(Job *j, const char *result, const char *message, const char *digest) {
        Imaged *m = j->imaged;
        _cleanup_free_ char *copy = strdup(message); /* it may belong to the work */

        if (j->stop)
                j->stop(j->work);
        j->stop = NULL;
        log_unless_sent(sd_bus_emit_object_removed(m->bus, j->path), "InterfacesRemoved");
        log_unless_sent(sd_bus_emit_signal(m->bus, IMAGES_OBJECT, IMAGES_INTERFACE, "JobRemoved", "uossss", j->id,
                                        j->path, j->reference, result, strempty(copy), digest),
                        "JobRemoved");
        audit_end(&j->audits, streq(result, "done") ? NULL : streq(result, "canceled") ? ERROR_CANCELED : result, copy);
        job_free(j);
        pulls_continue(m);
}

void job_fail(Job *j, const char *error_name, const char *message) {
        log_notice("%s %u of %s failed: %s", j->type == JOB_PULL ? "Pull" : "Import", j->id, j->reference, message);
        job_end(j, error_name, message, "");
}

void job_done(Job *j, const char *digest) {
        char copy[DIGEST_LENGTH + 1];

        (void) snprintf(copy, sizeof(copy), "%s", digest);
        job_end(j, "done", "", copy);
}
