/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/image-job.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/progress.h"
#include "ctl/sanitize.h"
#include "ctl/signal-set.h"
#include "ctl/table.h"
#include "shared/error-names.h"

#define LOOK_EVERY (200 * USEC_PER_MSEC)
#define LINE_EVERY (10 * USEC_PER_SEC) /* where lines are not written over */
/* A job that others wait for too does not end when we take our request back. */
#define CANCEL_PATIENCE (2 * USEC_PER_SEC)

typedef struct JobState {
        char step[32];
        uint64_t done, total;
        uint32_t layers_done, layers;
} JobState;

struct ImageJob {
        sd_bus *bus;
        sd_event *event;
        sd_bus_slot *removed_slot, *owner_slot, *look_slot;
        sd_event_source *tick, *patience, *signals[3];
        size_t n_signals;
        char *path, *service, *reference, *what, *title; /* service: its unique name */
        bool shared, on_terminal, canceled;
        uint64_t input_size;
        uint64_t begun, step_begun, step_from, said_at;
        JobState state, said;
        ImageJobCanceled on_canceled;
        void *userdata;
        char *digest;
        int result;
};

ImageJob *image_job_free(ImageJob *j) {
        if (!j)
                return NULL;
        for (size_t i = 0; i < j->n_signals; i++)
                sd_event_source_disable_unref(j->signals[i]);
        sd_event_source_disable_unref(j->tick);
        sd_event_source_disable_unref(j->patience);
        sd_bus_slot_unref(j->removed_slot);
        sd_bus_slot_unref(j->owner_slot);
        sd_bus_slot_unref(j->look_slot);
        sd_event_unref(j->event);
        sd_bus_unref(j->bus);
        free(j->path);
        free(j->service);
        free(j->reference);
        free(j->what);
        free(j->title);
        free(j->digest);
        return mfree(j);
}

static void finish(ImageJob *j, int r) {
        if (j->result == 0)
                j->result = r;
        sd_event_exit(j->event, 0);
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *path, *result, *message, *digest;
        ImageJob *j = userdata;

        if (sd_bus_message_read(m, "uossss", NULL, &path, NULL, &result, &message, &digest) < 0 ||
            !streq_ptr(path, j->path))
                return 0;
        progress_clear();
        if (streq(result, "done")) {
                finish(j, free_and_strdup(&j->digest, digest));
                return 0;
        }
        if (streq(result, "canceled")) {
                if (j->result == 0 && !arg_quiet)
                        fprintf(stderr, "Canceled: %s.\n", j->what);
                finish(j, -ECANCELED);
                return 0;
        }
        sd_bus_error_set(&error, result, message);
        finish(j, j->result == 0 ? report_error(-EIO, &error, "%s", j->what) : -EIO);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        ImageJob *j = userdata;
        const char *before;

        /* Another one may have left before ours was started for our call. */
        if (sd_bus_message_read(m, "sss", NULL, &before, NULL) < 0 || !streq_ptr(before, j->service))
                return 0;
        progress_clear();
        fprintf(stderr,
                "Failed to %s: the image service ended while it was at work.\n"
                "'journalctl -u hero-imaged' says why; nothing of the image has been kept.\n",
                j->what);
        finish(j, -EHOSTUNREACH);
        return 0;
}

static const char *step_text(const char *step) {
        static const struct {
                const char *step, *text;
        } table[] = {
                { "wait", "waiting for others to end" },
                { "resolve", "asking the registry" },
                { "fetch", "fetching" },
                { "convert", "converting" },
                { "store", "storing" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].step, step))
                        return table[i].text;
        return step[0] ? step : "waiting";
}

/* "fetching 12M of 27M, 2/5 layers, 5.1M/s, 3.2s". Beside a bar, what everybody expects of a pull is not said. */
static char *describe(const ImageJob *j, uint64_t now) {
        char done[FORMAT_BYTES_MAX], total[FORMAT_BYTES_MAX], rate[FORMAT_BYTES_MAX], span[FORMAT_TIMESPAN_MAX];
        char amount[64] = "", layers[48] = "", speed[32] = "";
        const JobState *s = &j->state;
        uint64_t took = now - j->step_begun;
        bool plain = j->on_terminal && s->total > 0 && streq(s->step, "fetch");

        if (s->total > 0)
                snprintf(amount, sizeof(amount), "%s%s of %s", plain ? "" : " ", format_bytes(done, s->done),
                         format_bytes(total, s->total));
        else if (s->done > 0)
                snprintf(amount, sizeof(amount), " %s", format_bytes(done, s->done));
        if (s->layers > 0)
                snprintf(layers, sizeof(layers), ", %" PRIu32 "/%" PRIu32 " layer%s", s->layers_done, s->layers,
                         s->layers == 1 ? "" : "s");
        if (s->done > j->step_from && took > USEC_PER_SEC / 2)
                snprintf(speed, sizeof(speed), ", %s/s",
                         format_bytes(rate, (uint64_t) ((double) (s->done - j->step_from) * (double) USEC_PER_SEC /
                                                        (double) took)));
        return strprintf("%s%s%s%s, %s", plain ? "" : step_text(s->step), amount, layers, speed,
                         format_timespan(span, now - j->begun));
}

static void show(ImageJob *j) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        _cleanup_free_ char *text = NULL, *clean = NULL;
        bool news;

        if (j->canceled || arg_quiet)
                return;
        news = !streq(j->state.step, j->said.step) || j->state.layers_done != j->said.layers_done ||
                now - j->said_at >= LINE_EVERY;
        if (!j->on_terminal && !news)
                return;
        j->said = j->state;
        j->said_at = now;
        text = describe(j, now);
        clean = sanitize_line(strempty(text));
        if (!clean)
                return;
        if (j->on_terminal)
                progress_bar(j->title, j->state.done, j->state.total, clean);
        else
                fprintf(stderr, "%s: %s\n", j->title, clean);
}

static int read_state(sd_bus_message *m, JobState *s) {
        const char *name, *step;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read_basic(m, 's', &name);
                if (r < 0)
                        return r;
                if (streq(name, "Step")) {
                        r = sd_bus_message_read(m, "v", "s", &step);
                        if (r >= 0)
                                snprintf(s->step, sizeof(s->step), "%s", step);
                } else if (streq(name, "Progress"))
                        r = sd_bus_message_read(m, "v", "(tt)", &s->done, &s->total);
                else if (streq(name, "Layers"))
                        r = sd_bus_message_read(m, "v", "(uu)", &s->layers_done, &s->layers);
                else
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static int on_look(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        ImageJob *j = userdata;
        JobState s = {};

        j->look_slot = sd_bus_slot_unref(j->look_slot);
        if (sd_bus_message_is_method_error(m, NULL) || read_state(m, &s) < 0)
                return 0;
        if (s.total == 0)
                s.total = j->input_size;
        if (!streq(s.step, j->state.step) || s.done < j->state.done) {
                j->step_begun = now_usec(CLOCK_MONOTONIC);
                j->step_from = s.done;
        }
        j->state = s;
        show(j);
        return 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        ImageJob *j = userdata;

        if (!j->look_slot && !j->canceled)
                (void) sd_bus_call_method_async(j->bus, &j->look_slot, HERO_IMAGES, j->path,
                                                "org.freedesktop.DBus.Properties", "GetAll", on_look, j, "s",
                                                HERO_IMAGE_JOB);
        (void) sd_event_source_set_time_relative(source, LOOK_EVERY);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata) {
        ImageJob *j = userdata;

        if (j->result == 0 && !arg_quiet)
                fprintf(stderr, j->shared ? "Canceled: %s. It goes on for others who asked for it, too.\n" :
                                            "Canceled: %s.\n", j->what);
        finish(j, -ECANCELED);
        return 0;
}

static int on_cancel_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        ImageJob *j = userdata;

        if (j->on_canceled)
                j->on_canceled(j, j->userdata);
        if (e && !streq(e->name, SD_BUS_ERROR_UNKNOWN_OBJECT) && !streq(e->name, ERROR_NO_SUCH_JOB)) {
                report_error(-EIO, e, "cancel; still waiting, interrupt again to leave it to itself");
                return 0;
        }
        /* JobRemoved comes; if the job was ours alone. */
        return sd_event_add_time_relative(j->event, &j->patience, CLOCK_MONOTONIC, CANCEL_PATIENCE, 0, on_patience, j);
}

static void cancel(ImageJob *j) {
        j->canceled = true;
        if (sd_bus_call_method_async(j->bus, NULL, HERO_IMAGES, j->path, HERO_IMAGE_JOB, "Cancel", on_cancel_reply, j,
                                     NULL) < 0)
                finish(j, -ECANCELED);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        ImageJob *j = userdata;

        progress_clear();
        if (j->canceled) {
                if (j->result == 0)
                        fprintf(stderr, "Not waiting any longer for the service to cancel.\n");
                finish(j, -ECANCELED);
                return 0;
        }
        if (!arg_quiet)
                fprintf(stderr, "Canceling…\n");
        cancel(j);
        return 0;
}

void image_job_fail(ImageJob *j, int error) {
        progress_clear();
        if (j->result == 0)
                j->result = error;
        if (!j->canceled)
                cancel(j);
}

void image_job_on_canceled(ImageJob *j, ImageJobCanceled callback, void *userdata) {
        j->on_canceled = callback;
        j->userdata = userdata;
}

sd_event *image_job_event(ImageJob *j) {
        return j->event;
}

static int subscribe(ImageJob *j) {
        int r;

        r = sd_bus_match_signal(j->bus, &j->removed_slot, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "JobRemoved",
                                on_removed, j);
        if (r < 0)
                return r;
        return sd_bus_add_match(j->bus, &j->owner_slot,
                                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" HERO_IMAGES "'",
                                on_owner_changed, j);
}

int image_job_new(sd_bus *bus, const char *doing, const char *title, const char *reference, bool shared, ImageJob **ret) {
        _cleanup_image_job_ ImageJob *j = NULL;
        _cleanup_free_ char *clean = NULL;
        int r;

        j = new0(ImageJob, 1);
        clean = sanitize_line(reference);
        if (!j || !clean)
                return -ENOMEM;
        j->bus = sd_bus_ref(bus);
        j->shared = shared;
        j->on_terminal = isatty(STDERR_FILENO);
        j->begun = j->step_begun = now_usec(CLOCK_MONOTONIC);
        j->said_at = j->begun;
        j->reference = strdup(reference);
        j->what = strprintf("%s image '%s'", doing, clean);
        j->title = strprintf("%s %s", title, clean);
        if (!j->reference || !j->what || !j->title)
                return -ENOMEM;
        r = sd_event_new(&j->event);
        if (r >= 0)
                r = subscribe(j);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(j);
        return 0;
}

int image_job_call(ImageJob *j, sd_bus_message *call, sd_bus_error *error, const char **ret_path) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call(j->bus, call, 0, error, &reply);
        if (r < 0 && sd_bus_error_has_name(error, ERROR_BUSY)) {
                sd_bus_error_free(error);
                r = sd_bus_call(j->bus, call, 0, error, &reply);
        }
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &path);
        if (r >= 0)
                r = free_and_strdup(&j->path, path);
        if (r >= 0)
                r = free_and_strdup(&j->service, sd_bus_message_get_sender(reply));
        if (r >= 0)
                *ret_path = j->path;
        return r;
}

void image_job_set_input_size(ImageJob *j, uint64_t size) {
        j->input_size = size;
}

static int add_signals(ImageJob *j) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        int r;

        r = signals_block(signals, ELEMENTSOF(signals));
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                if (!signal_is_wanted(signals[i]))
                        continue;
                r = sd_event_add_signal(j->event, j->signals + j->n_signals, signals[i], on_signal, j);
                if (r < 0)
                        return r;
                j->n_signals++;
        }
        return 0;
}

int image_job_run(ImageJob *j, const char **ret_digest) {
        int r;

        r = add_signals(j);
        if (r >= 0 && !arg_quiet)
                r = sd_event_add_time_relative(j->event, &j->tick, CLOCK_MONOTONIC, LOOK_EVERY, 0, on_tick, j);
        if (r >= 0)
                r = sd_bus_attach_event(j->bus, j->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_event_loop(j->event);
        (void) sd_bus_detach_event(j->bus);
        progress_clear();
        if (r < 0) {
                fprintf(stderr, "Failed to wait for the image service: %s.\n", strerror(-r));
                return r;
        }
        *ret_digest = strempty(j->digest);
        return j->result;
}

int image_job_print(const char *reference, const char *digest, const char *job) {
        static const Column columns[] = {
                { NULL, "reference", COLUMN_STRING },
                { NULL, "digest", COLUMN_STRING },
                { NULL, "job", COLUMN_STRING },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        if (arg_json == JSON_OFF) {
                if (!arg_quiet || job)
                        puts(job ?: digest);
                return 0;
        }
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r >= 0)
                r = table_add(t, reference, digest, job);
        return r < 0 ? r : table_print_object(t);
}
