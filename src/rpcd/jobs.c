/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/jobs.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"
#include <uthash.h>

/* A call of the service that answers with a job authorises, and may wait for an image or a disk before that. */
#define CALL_TIMEOUT (2 * 60 * USEC_PER_SEC)

typedef struct Waiter {
        Call *call;
        job_done_t done;
        TAILQ_ENTRY(Waiter) waiters;
} Waiter;

/* One that is waited for. */
typedef struct Job {
        char *path;
        TAILQ_HEAD(, Waiter) waiters;
        UT_hash_handle hh;
} Job;

struct Jobs {
        Rpcd *rpcd;
        sd_bus_slot *removed;
        Job *jobs;
        EndedJob ended[JOBS_ENDED_MAX];
        unsigned n_ended;
};

static Job *job_free(Jobs *j, Job *job) {
        HASH_DEL(j->jobs, job);
        free(job->path);
        return mfree(job);
}

/* done may make calls of its own, and so jobs. */
static void tell(Jobs *j, Job *job, const sd_bus_error *error) {
        Waiter *w;

        while ((w = TAILQ_FIRST(&job->waiters))) {
                TAILQ_REMOVE(&job->waiters, w, waiters);
                w->done(w->call, error);
                free(w);
        }
        job_free(j, job);
}

static void remember(Jobs *j, unsigned id, const char *vm, const char *result, const char *message) {
        EndedJob *e = j->ended + j->n_ended++ % JOBS_ENDED_MAX;

        free(e->vm);
        free(e->result);
        free(e->message);
        *e = (EndedJob) { .id = id, .vm = strdup(vm), .result = strdup(result), .message = strdup(message) };
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *vm, *result, *message;
        Jobs *j = userdata;
        unsigned id;
        Job *job;
        int r;

        r = sd_bus_message_read(m, "uosss", &id, &path, &vm, &result, &message);
        if (r < 0) {
                log_warning_errno(r, "Cannot read how a job ended: %m");
                return 0;
        }
        remember(j, id, vm, result, message);
        HASH_FIND_STR(j->jobs, path, job);
        if (!job)
                return 0;
        if (streq(result, "done"))
                tell(j, job, NULL);
        else if (streq(result, "canceled"))
                tell(j, job, &SD_BUS_ERROR_MAKE_CONST(ERROR_CANCELED, "The job was canceled."));
        else
                tell(j, job, &(sd_bus_error) { .name = result, .message = message });
        return 0;
}

int jobs_new(Rpcd *d, Jobs **ret) {
        Jobs *j;
        int r;

        j = new0(Jobs, 1);
        if (!j)
                return -ENOMEM;
        j->rpcd = d;
        r = sd_bus_match_signal_async(d->bus, &j->removed, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE, "JobRemoved",
                                      on_removed, NULL, j);
        if (r < 0) {
                free(j);
                return r;
        }
        *ret = j;
        return 0;
}

static void forget_ended(Jobs *j) {
        for (unsigned i = 0; i < JOBS_ENDED_MAX; i++) {
                free(j->ended[i].vm);
                free(j->ended[i].result);
                free(j->ended[i].message);
                j->ended[i] = (EndedJob) {};
        }
        j->n_ended = 0;
}

/* The next hero-computed begins to count anew: how a job 3 of the one before ended is nothing to tell of its own. */
void jobs_lost(Jobs *j) {
        Job *job, *tmp;

        if (!j)
                return;
        forget_ended(j);
        HASH_ITER(hh, j->jobs, job, tmp)
                tell(j, job, &SD_BUS_ERROR_MAKE_CONST("org.freedesktop.DBus.Error.NoReply",
                                                      "hero-computed has ended meanwhile; what came of it is in the VM's state."));
}

Jobs *jobs_free(Jobs *j) {
        if (!j)
                return NULL;
        sd_bus_slot_unref(j->removed);
        jobs_lost(j);
        return mfree(j);
}

static int wait_for(Jobs *j, const char *path, Call *c, job_done_t done) {
        Waiter *w;
        Job *job;

        HASH_FIND_STR(j->jobs, path, job);
        if (!job) {
                job = new0(Job, 1);
                if (!job)
                        return -ENOMEM;
                job->path = strdup(path);
                if (!job->path) {
                        free(job);
                        return -ENOMEM;
                }
                TAILQ_INIT(&job->waiters);
                HASH_ADD_KEYPTR(hh, j->jobs, job->path, strlen(job->path), job);
        }
        w = new(Waiter, 1);
        if (!w)
                return -ENOMEM; /* an empty job goes when it ends */
        *w = (Waiter) { .call = c, .done = done };
        TAILQ_INSERT_TAIL(&job->waiters, w, waiters);
        return 0;
}

/* "oo": the VM, which may be new, and the job; or "o". */
static int read_job(Call *c, sd_bus_message *reply, const char **ret) {
        const char *vm;
        int r;

        if (!streq(sd_bus_message_get_signature(reply, true), "oo"))
                return sd_bus_message_read_basic(reply, 'o', ret);
        r = sd_bus_message_read(reply, "oo", &vm, ret);
        if (r >= 0)
                r = free_and_strdup(&c->vm_path, vm);
        return r;
}

static void answer_job(Call *c, const char *path) {
        const char *id = strrchr(path, '/') + 1;

        call_result(c, json_pack("{s:s, s:s?}", "job_id", id, "vm_id", c->vm_id));
}

static int on_called(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Call *c = userdata;
        job_done_t done = (job_done_t) (uintptr_t) c->userdata;
        const char *path;
        int r;

        if (call_failed(c, reply))
                return 0;
        r = read_job(c, reply, &path);
        if (r >= 0 && streq(path, "/")) {
                done(c, NULL); /* there was nothing to do */
                return 0;
        }
        if (r >= 0 && !call_boolean(c, "wait", true)) {
                answer_job(c, path);
                return 0;
        }
        if (r >= 0)
                r = wait_for(c->rpcd->jobs, path, c, done);
        if (r < 0)
                call_errno(c, r);
        return 0;
}

void jobs_call(Call *c, sd_bus_message *message, job_done_t done) {
        c->userdata = (void *) (uintptr_t) done;
        call_bus(c, message, on_called, CALL_TIMEOUT);
}

const EndedJob *jobs_find_ended(const Jobs *j, unsigned id) {
        for (unsigned i = 0; i < MIN2(j->n_ended, JOBS_ENDED_MAX); i++) {
                const EndedJob *e = j->ended + (j->n_ended - 1 - i) % JOBS_ENDED_MAX;

                if (e->id == id)
                        return e;
        }
        return NULL;
}
