/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/image-jobs.h"

#include <stdio.h>
#include <sys/queue.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/guests.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

/* How the last ones ended is known for a while. */
#define ENDED_MAX 64u
#define CALL_TIMEOUT (2 * 60 * USEC_PER_SEC)

typedef struct ImageCall {
        TAILQ_ENTRY(ImageCall) calls;
        Call *call;
        image_job_done_t done;
        sd_bus_message *message;
        sd_bus_slot *slot;
        char *path, *service; /* of its job, and the connection that has it */
        bool again;
} ImageCall;

typedef struct EndedImageJob {
        unsigned id; /* 0: none */
        char *reference, *result, *message;
} EndedImageJob;

struct ImageJobs {
        Rpcd *rpcd;
        sd_bus_slot *new, *removed, *owner;
        TAILQ_HEAD(, ImageCall) calls;
        EndedImageJob ended[ENDED_MAX];
        unsigned n_ended;
};

static Call *image_call_take(ImageCall *i) {
        Call *c = i->call;

        TAILQ_REMOVE(&c->rpcd->guests->image_jobs->calls, i, calls);
        sd_bus_message_unref(i->message);
        sd_bus_slot_unref(i->slot);
        free(i->path);
        free(i->service);
        free(i);
        return c;
}

static void ended_clear(EndedImageJob *e) {
        free(e->reference);
        free(e->result);
        free(e->message);
        *e = (EndedImageJob){};
}

/* When hero-imaged comes again, its numbers begin again. */
static void forget(ImageJobs *j, unsigned id) {
        for (size_t i = 0; i < ENDED_MAX; i++)
                if (j->ended[i].id == id)
                        ended_clear(&j->ended[i]);
}

static int on_new(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        unsigned id;

        if (sd_bus_message_read(m, "u", &id) >= 0)
                forget(userdata, id);
        return 0;
}

static void remember(ImageJobs *j, unsigned id, const char *reference, const char *result, const char *message) {
        EndedImageJob *e = &j->ended[j->n_ended++ % ENDED_MAX];

        ended_clear(e);
        *e = (EndedImageJob){ id, strdup(reference), strdup(result), strdup(message) };
        if (!e->reference || !e->result || !e->message)
                ended_clear(e);
}

static void set_error(sd_bus_error *e, const char *result, const char *message) {
        if (streq(result, "canceled"))
                (void) sd_bus_error_set(e, ERROR_CANCELED, "The job was canceled.");
        else if (!streq(result, "done"))
                (void) sd_bus_error_set(e, result, message);
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *path, *reference, *result, *message, *digest;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        ImageCall *i, *next;
        ImageJobs *j = userdata;
        unsigned id;

        if (sd_bus_message_read(m, "uossss", &id, &path, &reference, &result, &message, &digest) < 0)
                return 0;
        remember(j, id, reference, result, message);
        set_error(&error, result, message);
        for (i = TAILQ_FIRST(&j->calls); i; i = next) {
                image_job_done_t done = i->done;

                next = TAILQ_NEXT(i, calls);
                if (streq_ptr(i->path, path))
                        done(image_call_take(i), sd_bus_error_is_set(&error) ? &error : NULL, digest);
        }
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        ImageJobs *j = userdata;
        ImageCall *i, *next;
        const char *before;

        if (sd_bus_message_read(m, "sss", NULL, &before, NULL) < 0)
                return 0;
        for (i = TAILQ_FIRST(&j->calls); i; i = next) {
                next = TAILQ_NEXT(i, calls);
                if (i->service && streq(i->service, before))
                        call_refuse(image_call_take(i), SD_BUS_ERROR_NO_REPLY,
                                    "hero-imaged ended while it was at work; nothing of the image was kept.");
        }
        return 0;
}

static void answer_job(ImageCall *i) {
        _cleanup_free_ char *id = strprintf(IMAGE_JOB_ID_PREFIX "%s", strempty(strrchr(i->path, '/') + 1));
        Call *c = image_call_take(i);

        if (id)
                call_result(c, json_pack("{s:s, s:n}", "job_id", id, "vm_id"));
        else
                call_errno(c, -ENOMEM);
}

static int send(ImageCall *i);

static int on_called(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        ImageCall *i = userdata;
        const char *path;
        int r;

        i->slot = sd_bus_slot_unref(i->slot);
        if (e && sd_bus_error_has_name(e, ERROR_BUSY) && !i->again) { /* it was about to leave; the bus starts another */
                i->again = true;
                r = send(i);
                if (r < 0)
                        call_errno(image_call_take(i), r);
                return 0;
        }
        if (e) {
                call_bus_error(image_call_take(i), e);
                return 0;
        }
        r = sd_bus_message_read_basic(reply, 'o', &path);
        if (r >= 0)
                r = free_and_strdup(&i->path, path);
        if (r >= 0)
                r = free_and_strdup(&i->service, sd_bus_message_get_sender(reply));
        if (r < 0)
                call_errno(image_call_take(i), r);
        else if (!call_boolean(i->call, "wait", true))
                answer_job(i);
        return 0;
}

static int send(ImageCall *i) {
        return sd_bus_call_async(i->call->rpcd->bus, &i->slot, i->message, on_called, i, CALL_TIMEOUT);
}

void image_jobs_call(Call *c, sd_bus_message *message, image_job_done_t done) {
        ImageCall *i = new0(ImageCall, 1);
        int r;

        if (!i) {
                sd_bus_message_unref(message);
                call_errno(c, -ENOMEM);
                return;
        }
        *i = (ImageCall){ .call = c, .done = done, .message = message };
        TAILQ_INSERT_TAIL(&c->rpcd->guests->image_jobs->calls, i, calls);
        r = send(i);
        if (r < 0)
                call_errno(image_call_take(i), r);
}

int image_jobs_new(Rpcd *d, ImageJobs **ret) {
        _cleanup_(image_jobs_freep) ImageJobs *j = NULL;
        int r;

        j = new0(ImageJobs, 1);
        if (!j)
                return -ENOMEM;
        j->rpcd = d;
        TAILQ_INIT(&j->calls);
        r = sd_bus_match_signal_async(d->bus, &j->new, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, "JobNew", on_new, NULL, j);
        if (r >= 0)
                r = sd_bus_match_signal_async(d->bus, &j->removed, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, "JobRemoved",
                                              on_removed, NULL, j);
        if (r >= 0)
                r = sd_bus_add_match_async(d->bus, &j->owner,
                                           "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                           "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" IMAGES_BUS_NAME "'",
                                           on_owner, NULL, j);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(j);
        return 0;
}

ImageJobs *image_jobs_free(ImageJobs *j) {
        if (!j)
                return NULL;
        sd_bus_slot_unref(j->new);
        sd_bus_slot_unref(j->removed);
        sd_bus_slot_unref(j->owner);
        while (!TAILQ_EMPTY(&j->calls))
                call_refuse(image_call_take(TAILQ_FIRST(&j->calls)), ERROR_CANCELED, "The service is about to stop; the job goes on.");
        for (size_t i = 0; i < ENDED_MAX; i++)
                ended_clear(&j->ended[i]);
        return mfree(j);
}

/* job.get, job.cancel */

static const EndedImageJob *find_ended(const ImageJobs *j, unsigned id) {
        for (size_t i = 0; i < ENDED_MAX; i++)
                if (j->ended[i].id == id)
                        return &j->ended[i];
        return NULL;
}

static void no_such_job(Call *c) {
        call_refuse(c, ERROR_NO_SUCH_JOB, "There is no job '%s'. How jobs of images ended is known of the last %u.",
                    call_string(c, "job_id"), ENDED_MAX);
}

static json_t *error_of(const EndedImageJob *e) {
        const char *name;
        int code;

        if (streq(e->result, "done"))
                return json_null();
        code = rpc_error_code(streq(e->result, "canceled") ? ERROR_CANCELED : e->result, &name);
        return json_pack("{s:i, s:s, s:{s:s}}", "code", code, "message", e->message, "data", "name", name);
}

static void answer_ended(Call *c, const EndedImageJob *e) {
        call_result(c, json_pack("{s:s, s:n, s:s, s:s, s:o}", "job_id", call_string(c, "job_id"), "vm_id", "reference", e->reference,
                                 "state", streq(e->result, "done") || streq(e->result, "canceled") ? e->result : "failed", "error",
                                 error_of(e)));
}

typedef struct ImageJobState {
        const char *type, *reference, *step;
        uint64_t done, total;
} ImageJobState;

static int read_property(sd_bus_message *m, ImageJobState *s) {
        const char *name;
        int r;

        r = sd_bus_message_read_basic(m, 's', &name);
        if (r < 0)
                return r;
        if (streq(name, "Type"))
                return sd_bus_message_read(m, "v", "s", &s->type);
        if (streq(name, "Reference"))
                return sd_bus_message_read(m, "v", "s", &s->reference);
        if (streq(name, "Step"))
                return sd_bus_message_read(m, "v", "s", &s->step);
        if (streq(name, "Progress"))
                return sd_bus_message_read(m, "v", "(tt)", &s->done, &s->total);
        return sd_bus_message_skip(m, "v");
}

static int read_state(sd_bus_message *m, ImageJobState *s) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_property(m, s);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static bool parse_id(const char *job_id, unsigned *ret) {
        const char *number = startswith(job_id, IMAGE_JOB_ID_PREFIX);

        return number && parse_uint(number, UINT32_MAX, ret) >= 0 && *ret > 0;
}

static int on_properties(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const EndedImageJob *e = NULL;
        ImageJobState s = {};
        Call *c = userdata;
        unsigned id;

        if (sd_bus_message_is_method_error(reply, NULL) || read_state(reply, &s) < 0) {
                if (parse_id(call_string(c, "job_id"), &id)) /* it may have ended in between */
                        e = find_ended(c->rpcd->guests->image_jobs, id);
                if (e)
                        answer_ended(c, e);
                else
                        no_such_job(c);
                return 0;
        }
        call_result(c, json_pack("{s:s, s:n, s:s?, s:s, s:s?, s:s?, s:{s:I, s:I}, s:n}", "job_id", call_string(c, "job_id"), "vm_id",
                                 "reference", s.reference, "state", "running", "type", s.type, "step", s.step, "progress", "done",
                                 (json_int_t) s.done, "total", (json_int_t) s.total, "error"));
        return 0;
}

/* Who is not there has no jobs, and is not started to say so. */
static sd_bus_message *job_message(Call *c, unsigned id, const char *interface, const char *member) {
        _cleanup_free_ char *path = strprintf(IMAGE_JOB_PREFIX "/%u", id);
        sd_bus_message *m = NULL;
        int r;

        r = path ? sd_bus_message_new_method_call(c->rpcd->bus, &m, IMAGES_BUS_NAME, path, interface, member) : -ENOMEM;
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r < 0) {
                sd_bus_message_unref(m);
                call_errno(c, r);
                return NULL;
        }
        return m;
}

void image_jobs_get(Call *c, const char *job_id) {
        const EndedImageJob *e;
        sd_bus_message *m;
        unsigned id;
        int r;

        if (!c->caller->admin || !parse_id(job_id, &id)) {
                no_such_job(c);
                return;
        }
        e = find_ended(c->rpcd->guests->image_jobs, id);
        if (e) {
                answer_ended(c, e);
                return;
        }
        m = job_message(c, id, "org.freedesktop.DBus.Properties", "GetAll");
        if (!m)
                return;
        r = sd_bus_message_append(m, "s", IMAGE_JOB_INTERFACE);
        if (r >= 0)
                call_bus(c, m, on_properties, 0);
        else {
                sd_bus_message_unref(m);
                call_errno(c, r);
        }
}

static int on_canceled(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Call *c = userdata;

        if (!e)
                call_result(c, json_pack("{s:s, s:b}", "job_id", call_string(c, "job_id"), "canceled", true));
        else if (sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_OBJECT) || sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_METHOD) ||
                 sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                 sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                no_such_job(c);
        else
                call_bus_error(c, e);
        return 0;
}

void image_jobs_cancel(Call *c, const char *job_id) {
        sd_bus_message *m;
        unsigned id;

        if (!c->caller->admin || !parse_id(job_id, &id)) {
                no_such_job(c);
                return;
        }
        m = job_message(c, id, IMAGE_JOB_INTERFACE, "Cancel");
        if (m)
                call_bus(c, m, on_canceled, 0);
}
