/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/wait-job.h"

#include <signal.h>
#include <stdio.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/outcome.h"
#include "ctl/progress.h"
#include "ctl/resolve.h"
#include "ctl/sanitize.h"
#include "ctl/signal-set.h"
#include "shared/error-names.h"

#define PROGRESS_AFTER USEC_PER_SEC
#define PROGRESS_EVERY (250 * USEC_PER_MSEC)
#define LINE_EVERY (10 * USEC_PER_SEC)
/* A service that is restarted is away for much less; one that was stopped does not come back. */
#define PATIENCE (10 * USEC_PER_SEC)

typedef struct WaitedJob {
        TAILQ_ENTRY(WaitedJob) jobs;
        JobWaiter *waiter;
        char *owner; /* the service that has it, by its unique name */
        char *path; /* NULL: ended with that, the VM is asked */
        char *vm, *what;
        const char *verb;
        sd_bus_slot *slot; /* of the question */
} WaitedJob;

struct JobWaiter {
        sd_bus *bus;
        sd_event *event;
        sd_bus_slot *removed_slot, *owner_slot, *progress_slot;
        sd_event_source *tick, *patience, *signals[3];
        TAILQ_HEAD(, WaitedJob) pending;
        unsigned n_pending;
        uint64_t begun;
        uint64_t pull_begun, pull_from; /* for its rate */
        uint64_t said_at;               /* where lines are not written over */
        bool on_terminal;
        bool canceled, firm, takes_hangup;
        bool done; /* sd_event_exit() would close the bus, which the caller goes on using */
        int result; /* of the first that failed */
};

static void waited_job_free(JobWaiter *w, WaitedJob *j) {
        TAILQ_REMOVE(&w->pending, j, jobs);
        w->n_pending--;
        sd_bus_slot_unref(j->slot);
        free(j->owner);
        free(j->path);
        free(j->vm);
        free(j->what);
        free(j);
}

JobWaiter *job_waiter_free(JobWaiter *w) {
        if (!w)
                return NULL;
        while (!TAILQ_EMPTY(&w->pending))
                waited_job_free(w, TAILQ_FIRST(&w->pending));
        sd_event_source_disable_unref(w->tick);
        for (size_t i = 0; i < ELEMENTSOF(w->signals); i++)
                sd_event_source_disable_unref(w->signals[i]);
        sd_event_source_disable_unref(w->patience);
        sd_bus_slot_unref(w->removed_slot);
        sd_bus_slot_unref(w->owner_slot);
        sd_bus_slot_unref(w->progress_slot);
        sd_event_unref(w->event);
        sd_bus_unref(w->bus);
        return mfree(w);
}

static void note_result(JobWaiter *w, int r) {
        if (w->result == 0)
                w->result = r;
        if (w->n_pending == 0)
                w->done = true;
}

static void job_ended(JobWaiter *w, WaitedJob *j, const char *result, const char *message) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = 0;

        progress_clear();
        if (streq(result, "canceled")) {
                if (!arg_quiet)
                        fprintf(stderr, "Canceled: %s.\n", j->what);
                r = -ECANCELED;
        } else if (!streq(result, "done")) {
                sd_bus_error_set(&error, result, message);
                r = report_error(-EIO, &error, "%s", j->what);
        }
        waited_job_free(w, j);
        note_result(w, r);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        JobWaiter *w = userdata;
        const char *path, *result, *message;
        WaitedJob *j;
        int r;

        r = sd_bus_message_read(m, "uosss", NULL, &path, NULL, &result, &message);
        if (r < 0)
                return 0;
        TAILQ_FOREACH(j, &w->pending, jobs)
                if (streq_ptr(j->path, path) && streq_ptr(j->owner, sd_bus_message_get_sender(m))) {
                        job_ended(w, j, result, message);
                        break;
                }
        return 0;
}

/* It does not come back. */
static int on_patience(sd_event_source *s, uint64_t usec, void *userdata) {
        JobWaiter *w = userdata;

        progress_clear();
        while (!TAILQ_EMPTY(&w->pending)) {
                WaitedJob *j = TAILQ_FIRST(&w->pending);

                fprintf(stderr, "Failed to %s: the service ended while it was at work.\n", j->what);
                waited_job_free(w, j);
        }
        fprintf(stderr, "When it starts again it finishes or undoes that; see 'heroctl status'.\n");
        note_result(w, -EHOSTUNREACH);
        return 0;
}

static int on_outcome(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_free_ char *text = NULL;
        WaitedJob *j = userdata;
        JobWaiter *w = j->waiter;
        int r = 0;

        j->slot = sd_bus_slot_unref(j->slot);
        switch (outcome_judge(j->verb, m, &text)) {
        case OUTCOME_AWAY:
                return 0; /* NameOwnerChanged tells when there is somebody to ask again */
        case OUTCOME_REACHED:
                break;
        case OUTCOME_MISSED:
                progress_clear();
                fprintf(stderr, "Failed to %s: the service was restarted while it was at work, and %s\n", j->what,
                        text ?: "its answer cannot be read.");
                r = -EIO;
                break;
        case OUTCOME_ERROR:
                progress_clear();
                r = report_error(-EIO, sd_bus_message_get_error(m), "%s", j->what);
        }
        waited_job_free(w, j);
        note_result(w, r);
        return 0;
}

/* The service is back. Numbers of jobs begin again with it: the old ones mean nothing any more. */
static void ask_all_again(JobWaiter *w) {
        WaitedJob *j, *next;

        w->patience = sd_event_source_disable_unref(w->patience);
        for (j = TAILQ_FIRST(&w->pending); j; j = next) {
                int r = -ENXIO;

                next = TAILQ_NEXT(j, jobs);
                if (j->path)
                        continue;
                j->slot = sd_bus_slot_unref(j->slot);
                if (j->vm)
                        r = outcome_ask(w->bus, j->vm, on_outcome, j, &j->slot);
                if (r < 0) {
                        r = report_error(r, NULL, "%s: the service was restarted while it was at work", j->what);
                        waited_job_free(w, j);
                        note_result(w, r);
                }
        }
}

/* True when there is a job that ended with the owner, or with one before. */
static bool forget_jobs_of(JobWaiter *w, const char *owner) {
        bool any = false;
        WaitedJob *j;

        TAILQ_FOREACH(j, &w->pending, jobs) {
                if (streq_ptr(j->owner, owner))
                        j->path = mfree(j->path);
                any = any || !j->path;
        }
        return any;
}

/* Maybe of what was before our calls, or came about by them (activation). */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *old, *owner;
        JobWaiter *w = userdata;
        int r;

        r = sd_bus_message_read(m, "sss", NULL, &old, &owner);
        if (r < 0 || !forget_jobs_of(w, old))
                return 0;
        w->progress_slot = sd_bus_slot_unref(w->progress_slot);
        if (owner[0])
                ask_all_again(w);
        else if (!w->patience)
                return sd_event_add_time_relative(w->event, &w->patience, CLOCK_MONOTONIC, PATIENCE, 0, on_patience, w);
        return 0;
}

static char *describe_pull(JobWaiter *w, uint64_t done, uint64_t total, uint64_t now) {
        char bytes[FORMAT_BYTES_MAX], of[FORMAT_BYTES_MAX], rate[FORMAT_BYTES_MAX], span[FORMAT_TIMESPAN_MAX];
        char speed[FORMAT_BYTES_MAX + 8] = "";

        if (w->pull_begun == 0 || done < w->pull_from) {
                w->pull_begun = now;
                w->pull_from = done;
        }
        if (now - w->pull_begun >= USEC_PER_SEC / 2)
                snprintf(speed, sizeof(speed), ", %s/s",
                         format_bytes(rate, (uint64_t) ((double) (done - w->pull_from) * (double) USEC_PER_SEC /
                                                        (double) (now - w->pull_begun))));
        if (total == 0)
                return strprintf("pulling the image, %s", format_timespan(span, now - w->begun));
        return strprintf("pulling %s of %s%s, %s", format_bytes(bytes, done), format_bytes(of, total), speed,
                         format_timespan(span, now - w->begun));
}

/* The one step that is long enough for people to want to know when it ends, and to wonder about silence where there is no
 * terminal. */
static void show_pull(JobWaiter *w, const WaitedJob *j, uint64_t done, uint64_t total) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        _cleanup_free_ char *text = NULL;

        text = describe_pull(w, done, total, now);
        if (!text)
                return;
        if (w->on_terminal)
                progress_bar(j->what, done, total, text);
        else if (now - w->said_at >= LINE_EVERY) {
                w->said_at = now;
                fprintf(stderr, "%s: %s\n", j->what, text);
        }
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        JobWaiter *w = userdata;
        WaitedJob *j = TAILQ_FIRST(&w->pending);
        const char *step = NULL;
        uint64_t done = 0, total = 0;
        int r;

        w->progress_slot = sd_bus_slot_unref(w->progress_slot);
        if (!j || sd_bus_message_is_method_error(m, NULL))
                return 0;
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *name;

                r = sd_bus_message_read_basic(m, 's', &name);
                if (r < 0)
                        return 0;
                if (streq(name, "Step"))
                        r = sd_bus_message_read(m, "v", "s", &step);
                else if (streq(name, "Progress"))
                        r = sd_bus_message_read(m, "v", "(tt)", &done, &total);
                else
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (step && streq(step, "pull") && w->n_pending == 1)
                show_pull(w, j, done, total);
        else if (w->on_terminal)
                progress_show(j->what, step, done, total, now_usec(CLOCK_MONOTONIC) - w->begun, w->n_pending - 1);
        return 0;
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata) {
        JobWaiter *w = userdata;
        WaitedJob *j = TAILQ_FIRST(&w->pending);

        if (j && !j->path && w->on_terminal)
                progress_show(j->what, NULL, 0, 0, now_usec(CLOCK_MONOTONIC) - w->begun, w->n_pending - 1);
        else if (j && j->path && !w->progress_slot && !w->canceled)
                (void) sd_bus_call_method_async(w->bus, &w->progress_slot, HERO_SERVICE, j->path,
                                                "org.freedesktop.DBus.Properties", "GetAll", on_progress, w, "s",
                                                HERO_JOB);
        (void) sd_event_source_set_time_relative(s, PROGRESS_EVERY);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_cancel_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e && !streq(e->name, SD_BUS_ERROR_UNKNOWN_OBJECT) && !streq(e->name, ERROR_NO_SUCH_JOB))
                report_error(-EIO, e, "cancel; still waiting, interrupt again to leave it to itself");
        return 0;
}

/* The first interrupt cancels, where that is wanted; a second one leaves at once, the jobs go on. */
static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        JobWaiter *w = userdata;
        bool any = false;
        WaitedJob *j;

        progress_clear();
        if (w->firm && !w->canceled && (j = TAILQ_FIRST(&w->pending))) {
                w->canceled = true;
                if (!arg_quiet)
                        fprintf(stderr, "Waiting for: %s. Interrupt again to leave it to the service.\n", j->what);
                return 0;
        }
        TAILQ_FOREACH(j, &w->pending, jobs) {
                if (w->canceled || !j->path)
                        continue;
                any = true;
                (void) sd_bus_call_method_async(w->bus, NULL, HERO_SERVICE, j->path, HERO_JOB, "Cancel", on_cancel_reply,
                                                w, NULL);
        }
        if (!any) {
                fprintf(stderr, "Not waiting any longer; the service goes on. See 'heroctl status'.\n");
                if (w->result == 0)
                        w->result = -ECANCELED;
                w->done = true;
                return 0;
        }
        w->canceled = true;
        if (!arg_quiet)
                fprintf(stderr, "Canceling…\n");
        return 0;
}

int job_waiter_new(sd_bus *bus, JobWaiter **ret) {
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        int r;

        w = new0(JobWaiter, 1);
        if (!w)
                return -ENOMEM;
        TAILQ_INIT(&w->pending);
        w->bus = sd_bus_ref(bus);
        w->begun = now_usec(CLOCK_MONOTONIC);
        r = sd_event_new(&w->event);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(bus, &w->removed_slot, HERO_SERVICE, HERO_PATH, HERO_MANAGER, "JobRemoved",
                                on_job_removed, w);
        if (r < 0)
                return r;
        r = sd_bus_add_match(bus, &w->owner_slot,
                             "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                             "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" HERO_SERVICE "'",
                             on_owner_changed, w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

void job_waiter_take_hangup(JobWaiter *w) {
        w->takes_hangup = true;
}

void job_waiter_set_firm(JobWaiter *w) {
        w->firm = true;
}

/* Told by the job itself, unless that is over; then JobRemoved is about to be heard. */
static int vm_of_job(JobWaiter *w, const char *path, char **ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *vm;

        if (sd_bus_get_property(w->bus, HERO_SERVICE, path, HERO_JOB, "VM", NULL, &reply, "(so)") < 0 ||
            sd_bus_message_read(reply, "(so)", NULL, &vm) < 0)
                return 0;
        *ret = strdup(vm);
        return *ret ? 0 : -ENOMEM;
}

int job_waiter_add(JobWaiter *w, sd_bus_message *reply, const char *path, const char *vm, const char *verb, const char *what) {
        WaitedJob *j;

        if (streq(path, "/"))
                return 0;
        j = new0(WaitedJob, 1);
        if (!j)
                return -ENOMEM;
        TAILQ_INSERT_TAIL(&w->pending, j, jobs);
        w->n_pending++;
        j->waiter = w;
        j->verb = verb;
        j->owner = strdup(strempty(sd_bus_message_get_sender(reply)));
        j->path = strdup(path);
        j->what = strdup(what);
        if (!j->owner || !j->path || !j->what)
                return -ENOMEM;
        if (!vm)
                return vm_of_job(w, path, &j->vm);
        j->vm = strdup(vm);
        return j->vm ? 0 : -ENOMEM;
}

static int attach(JobWaiter *w) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        size_t n = ELEMENTSOF(signals) - !w->takes_hangup;
        int r;

        r = signals_block(signals, n);
        for (size_t i = 0; i < n && r >= 0; i++)
                if (signal_is_wanted(signals[i]))
                        r = sd_event_add_signal(w->event, w->signals + i, signals[i], on_interrupt, w);
        if (r < 0)
                return r;
        w->on_terminal = isatty(STDERR_FILENO);
        if (!arg_quiet) {
                r = sd_event_add_time_relative(w->event, &w->tick, CLOCK_MONOTONIC, PROGRESS_AFTER, 0, on_tick, w);
                if (r < 0)
                        return r;
        }
        return sd_bus_attach_event(w->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
}

int job_waiter_run(JobWaiter *w) {
        int r;

        if (w->n_pending == 0)
                return w->result;
        r = attach(w);
        while (r >= 0 && !w->done)
                r = sd_event_run(w->event, UINT64_MAX);
        (void) sd_bus_detach_event(w->bus);
        progress_clear();
        if (r < 0) {
                fprintf(stderr, "Failed to wait for the job: %s.\n", strerror(-r));
                return r;
        }
        return w->result;
}
