/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A job is a pull or an import under way: who asked for it, how far it is. What it does is in pull.c and import.c. Owned
 * by Imaged until it has ended and JobRemoved was sent. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"
#include "imaged/oci-manifest.h"
#include "imaged/reference.h"
#include "shared/audit-calls.h"
#include "shared/bus-util.h"

#define JOBS_MAX 256u
#define JOB_REQUESTS_MAX 1024u

typedef struct Imaged Imaged;
typedef struct Job Job;
typedef struct Request Request;

typedef enum JobType {
        JOB_PULL,
        JOB_IMPORT,
} JobType;

typedef enum JobStep {
        STEP_WAIT,
        STEP_RESOLVE,
        STEP_FETCH,
        STEP_CONVERT,
        STEP_STORE,
        _JOB_STEP_MAX,
} JobStep;

struct Job {
        TAILQ_ENTRY(Job) jobs;
        Imaged *imaged;
        uint32_t id;
        JobType type;
        char path[sizeof(IMAGE_JOB_PREFIX "/4294967295")];
        char reference[REFERENCE_MAX + 1];
        char platform[OCI_PLATFORM_MAX + 1];

        TAILQ_HEAD(, Request) requests; /* of connections that are on the bus */
        unsigned n_requests;
        struct AuditCalls audits; /* the calls that asked for it */

        JobStep step;
        uint64_t done, total;
        uint32_t layers_done, layers_total;
        uint64_t reserved;  /* bytes that its image will need, see space.h */
        uint64_t announced; /* when progress was, CLOCK_MONOTONIC */

        /* Of pull.c or import.c. stop() ends and frees it without a word; it is called once. */
        void *work;
        void (*stop)(void *work);
};

const char *job_type_to_string(JobType t);
const char *job_step_to_string(JobStep s);

/* A job without work yet, not announced. -EDQUOT: there are too many; error is set. */
int job_new(Imaged *m, JobType type, const char *reference, const char *platform, Job **ret, sd_bus_error *error);

/* One more who asked for it. When the last connection that asked leaves the bus, an import ends. */
int job_request(Job *j, const char *sender, sd_bus_error *error);

/* One less. False: this one did not ask. */
bool job_withdraw(Job *j, const char *sender);

/* JobNew; from here on it ends by job_end(), or silently by job_free(). */
void job_announce(Job *j);
Job *job_free(Job *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(Job *, job_free);

Job *job_find_pull(Imaged *m, const char *reference, const char *platform);
void jobs_free(Imaged *m);

/* What it does now. A step is announced at once, numbers now and then. */
void job_set_step(Job *j, JobStep step);
void job_set_progress(Job *j, uint64_t done, uint64_t total);
void job_set_layers(Job *j, uint32_t done, uint32_t total);

/* Stops its work, says how it ended, and frees it. */
void job_end(Job *j, const char *result, const char *message, const char *digest);
void job_fail(Job *j, const char *error_name, const char *message);
void job_done(Job *j, const char *digest);

/* job-bus.c */
int job_bus_register(Imaged *m);
