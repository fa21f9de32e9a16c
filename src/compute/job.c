/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/job.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "compute/manager.h"
#include "compute/steps.h"
#include "compute/transient.h"
#include "compute/vm-awake.h"
#include "compute/vm-wait.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

static const char *const job_type_table[_JOB_TYPE_MAX] = {
        [JOB_CREATE] = "create",   [JOB_PROVISION] = "provision", [JOB_START] = "start",   [JOB_STOP] = "stop",
        [JOB_RESTART] = "restart", [JOB_SUSPEND] = "suspend",     [JOB_RESUME] = "resume",
        [JOB_HIBERNATE] = "hibernate", [JOB_DELETE] = "delete",
};

const char *job_type_to_string(JobType t) {
        return (int) t >= 0 && t < _JOB_TYPE_MAX ? job_type_table[t] : NULL;
}

static const Step *const steps_table[_JOB_STEP_MAX] = {
        [STEP_PREPARE] = &step_prepare, [STEP_START] = &step_start,   [STEP_STOP] = &step_stop,
        [STEP_SUSPEND] = &step_suspend, [STEP_RESUME] = &step_resume, [STEP_REMOVE] = &step_remove,
        [STEP_HIBERNATE] = &step_hibernate,
};

Job *job_free(Job *j) {
        if (!j)
                return NULL;
        if (j->vm)
                j->vm->job = NULL;
        audit_end(&j->audits, SD_BUS_ERROR_NO_REPLY, "hero-computed ended before the job did.");
        sd_event_source_disable_unref(j->begin);
        signals_forget_job(j);
        if (j->path) {
                HASH_DEL(j->manager->jobs, j);
                j->manager->n_jobs--;
        }
        free(j->path);
        free(j->vm_name);
        free(j->error_text);
        return mfree(j);
}

void job_set_word(Job *j, const char *word) {
        if (!j || j->word == word)
                return;
        j->word = word;
        j->done = j->total = 0;
        signals_job_changed(j);
}

void job_set_progress(Job *j, uint64_t done, uint64_t total) {
        if (!j || (j->done == done && j->total == total))
                return;
        j->done = done;
        j->total = total;
        signals_job_changed(j);
}

static void job_end(Job *j, int error, const char *text) {
        _cleanup_free_ char *sentence = NULL;
        const char *result = "done";
        JobType type = j->type;
        Vm *vm = j->vm;

        if (j->undoing && j->error < 0) {
                /* An undo that fails, too, is in the journal; the caller wants to know what went wrong first. */
                error = j->error;
                text = j->error_text;
        }
        if (error < 0) {
                sentence = strdup(text ?: strerror(-error));
                text = sentence ? utf8_sanitize(sentence) : "Out of memory.";
                result = error == -ECANCELED ? "canceled" : error_name_from_errno(error);
                log_full(LOG_NOTICE, error, __FILE__, __LINE__, __func__, j->vm_name, NULL, NULL,
                         "Job %s of VM '%s' failed: %s", job_type_to_string(j->type), j->vm_name, text);
        }
        signals_job_removed(j, result, error < 0 ? text : "");
        audit_end(&j->audits, error < 0 ? error_name_from_errno(error) : NULL, text);
        job_free(j);
        if (!vm)
                return;
        if (!vm_state_is_active(vm->state))
                capacity_release_run(vm); /* a start that was refused before it began */
        vm_changed(vm, "Job", NULL);
        vm_waiters_wake(vm);
        vm_awake_look(vm, error, text);
        transient_look(vm, type == JOB_DELETE ? TRANSIENT_RETRY : 0);
}

/* The VM that a failed create or provision made goes again; if that needs a stop first, in a second round of steps. */
static bool job_begin_undo(Job *j, int error, const char *text) {
        if (!j->made_vm || j->undoing || !j->vm)
                return false;
        j->undoing = true;
        j->error = error;
        (void) free_and_strdup(&j->error_text, text);
        j->n_steps = 0;
        if (vm_state_is_active(j->vm->state)) {
                j->force = true;
                j->steps[j->n_steps++] = STEP_STOP;
        }
        j->steps[j->n_steps++] = STEP_REMOVE;
        j->current = 0;
        return true;
}

static void job_advance(Job *j) {
        while (j->current < j->n_steps) {
                const Step *s = steps_table[j->steps[j->current]];
                _cleanup_free_ char *text = NULL;
                int r;

                if (j->canceled && !j->undoing) {
                        if (!job_begin_undo(j, -ECANCELED, "Canceled.")) {
                                job_end(j, -ECANCELED, "Canceled.");
                                return;
                        }
                        continue;
                }
                job_set_word(j, s->word);
                j->begun = true;
                r = s->begin(j->vm, &text);
                if (r >= 0)
                        return; /* job_step_done() goes on, and may already have freed the job */
                j->begun = false;
                if (!job_begin_undo(j, r, text ?: strerror(-r))) {
                        job_end(j, r, text);
                        return;
                }
        }
        job_end(j, 0, NULL);
}

void job_step_done(Vm *vm, int error, const char *text) {
        Job *j = vm->job;

        /* One that has yet to begin was made because of what just ended (a wake that was asked for meanwhile), and is not it. */
        if (!j || !j->begun)
                return;
        j->begun = false;
        if (vm->removed) {
                j->vm = NULL;
                vm->job = NULL;
        }
        if (error < 0 && !j->undoing) {
                if (!job_begin_undo(j, error, text)) {
                        job_end(j, error, text);
                        return;
                }
        } else
                j->current++;
        job_advance(j);
}

static int on_begin(sd_event_source *s, void *userdata) {
        Job *j = userdata;

        j->begin = sd_event_source_disable_unref(j->begin);
        job_advance(j);
        return 0;
}

int job_new(Vm *vm, JobType type, const JobStep *steps, unsigned n_steps, bool force, Job **ret, sd_bus_error *error) {
        Manager *m = vm->manager;
        Job *j;
        int r;

        assert(n_steps > 0 && n_steps <= JOB_STEPS_MAX);
        if (vm->job)
                return sd_bus_error_setf(error, ERROR_BUSY, "VM '%s' is busy: job %u (%s) works on it. Wait for it or cancel it.",
                                         vm->name, vm->job->id, job_type_to_string(vm->job->type));
        if (m->n_jobs >= JOBS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u jobs are running already, try again later.",
                                         JOBS_MAX);
        j = new0(Job, 1);
        if (!j)
                return -ENOMEM;
        j->manager = m;
        TAILQ_INIT(&j->audits);
        j->type = type;
        j->force = force;
        j->n_steps = n_steps;
        memcpy(j->steps, steps, n_steps * sizeof(*steps));
        j->id = ++m->next_job_id ?: ++m->next_job_id;
        j->vm_name = strdup(vm->name);
        j->path = strprintf(COMPUTE_JOB_PREFIX "/%u", j->id);
        if (!j->vm_name || !j->path) {
                free(j->path);
                j->path = NULL;
                job_free(j);
                return -ENOMEM;
        }
        HASH_ADD(hh, m->jobs, id, sizeof(j->id), j);
        m->n_jobs++;
        /* Not from here: the caller is to answer with the job's path before anything about the job is heard. */
        r = sd_event_add_defer(m->event, &j->begin, on_begin, j);
        if (r < 0) {
                job_free(j);
                return r;
        }
        vm->job = j;
        j->vm = vm;
        signals_job_new(j);
        if (vm->state != VM_PENDING) /* else nobody has heard of it yet */
                vm_changed(vm, "Job", NULL);
        if (ret)
                *ret = j;
        return 0;
}

int job_reply(Job *j, sd_bus_message *call, bool with_vm) {
        audit_give(j->manager->audit, call, j->vm_name, &j->audits);
        return with_vm ? sd_bus_reply_method_return(call, "oo", j->vm->path, j->path) :
                         sd_bus_reply_method_return(call, "o", j->path);
}

int job_cancel(Job *j, sd_bus_error *error) {
        const Step *s = j->current < j->n_steps ? steps_table[j->steps[j->current]] : NULL;

        if (j->undoing || j->canceled)
                return 0; /* on its way */
        if (j->begun && s && !s->cancel)
                return sd_bus_error_setf(error, ERROR_NOT_CANCELABLE, "Job %u (%s) is at '%s', which cannot be undone.", j->id,
                                         job_type_to_string(j->type), s->word);
        j->canceled = true;
        if (j->begun && s)
                s->cancel(j->vm);
        return 0;
}
