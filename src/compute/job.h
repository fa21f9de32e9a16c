/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A job is one request that takes time: a short list of steps run one after the other on one VM. A VM has at most
 * one. Owned by the Manager until it has ended and JobRemoved was sent. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <uthash.h>

#include "basic/macro.h"
#include "shared/audit-calls.h"

typedef struct Job Job;
typedef struct Manager Manager;
typedef struct Vm Vm;

#define JOBS_MAX 1024u

typedef enum JobType {
        JOB_CREATE,
        JOB_PROVISION,
        JOB_START,
        JOB_STOP,
        JOB_RESTART,
        JOB_SUSPEND,
        JOB_HIBERNATE,
        JOB_RESUME,
        JOB_DELETE,
        _JOB_TYPE_MAX,
        _JOB_TYPE_INVALID = -EINVAL,
} JobType;

const char *job_type_to_string(JobType t);

/* What a step does; each has a begin function and ends by job_step_done(). */
typedef enum JobStep {
        STEP_PREPARE, /* vm-prepare.c: image, disk → configured */
        STEP_START,   /* vm-start.c → running */
        STEP_STOP,    /* vm-stop.c → stopped */
        STEP_SUSPEND, /* vm-suspend.c */
        STEP_HIBERNATE, /* vm-hibernate.c */
        STEP_RESUME,
        STEP_REMOVE,  /* vm-remove.c: the VM and its files are gone */
        _JOB_STEP_MAX,
} JobStep;

#define JOB_STEPS_MAX 3u

struct Job {
        Manager *manager;
        Vm *vm;                 /* NULL once it has been removed */
        char *vm_name;
        uint32_t id;
        UT_hash_handle hh;
        JobType type;
        char *path;

        JobStep steps[JOB_STEPS_MAX];
        unsigned n_steps, current;
        sd_event_source *begin; /* of the first step */
        bool begun:1;           /* the current step is under way */
        bool canceled:1;
        bool made_vm:1;         /* this job made the VM: if it fails, the VM goes */
        bool force:1;           /* stop without grace */
        bool undoing:1;
        int error;              /* of the step that failed, reported when the undo is over */
        char *error_text;

        const char *word;       /* Step property */
        TAILQ_ENTRY(Job) signals;
        bool signalled;         /* is in there */
        uint64_t done, total;   /* Progress property */
        struct AuditCalls audits; /* the calls that asked for it */
};

/* Makes the job, announces it (JobNew), and begins its first step once the loop is back, so that the caller can answer
 * before the job may end. -EBUSY: the VM has a job; -EDQUOT: too many jobs. error is set. */
int job_new(Vm *vm, JobType type, const JobStep *steps, unsigned n_steps, bool force, Job **ret, sd_bus_error *error);

/* The current step of the VM's job ended: 0, or -errno with a sentence (copied). Begins the next one, or ends the job. */
void job_step_done(Vm *vm, int error, const char *text);

/* What it is doing, for people; word is a literal. */
void job_set_word(Job *j, const char *word);
/* How far it is in that; total 0: not known. A new word begins anew. */
void job_set_progress(Job *j, uint64_t done, uint64_t total);

/* The call is answered with this job, and has ended when the job has. */
int job_reply(Job *j, sd_bus_message *call, bool with_vm);

int job_cancel(Job *j, sd_bus_error *error);

Job *job_free(Job *j);
