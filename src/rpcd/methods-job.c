/* SPDX-License-Identifier: Apache-2.0 */

/* job.get and job.cancel: the jobs of hero-computed by number, each caller's own. */

#include <stdlib.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/image-jobs.h"
#include "rpcd/jobs.h"
#include "rpcd/methods.h"
#include "rpcd/replica.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define CALL_TIMEOUT (25 * USEC_PER_SEC)

static bool is_own(const Call *c, const char *vm_name) {
        ReplicaVm *vm = isempty(vm_name) ? NULL : replica_find(c->rpcd->replica, vm_name);

        return c->caller->admin || (vm && streq_ptr(vm->user, c->caller->user));
}

static void no_such_job(Call *c) {
        const char *name;
        int code = rpc_error_code(ERROR_NO_SUCH_JOB, &name);

        call_error(c, code, name, "There is no job '%s' of yours. How jobs ended is known of the last %u.", call_string(c, "job_id"),
                   JOBS_ENDED_MAX);
}

static bool parse_id(const Call *c, unsigned *ret) {
        const char *s = call_string(c, "job_id");
        char *end;
        unsigned long v;

        if (s[0] < '0' || s[0] > '9')
                return false;
        errno = 0;
        v = strtoul(s, &end, 10);
        *ret = (unsigned) v;
        return errno == 0 && !*end && v <= UINT32_MAX;
}

static bool answer_ended(Call *c, unsigned id) {
        const EndedJob *e = jobs_find_ended(c->rpcd->jobs, id);
        const char *name = NULL;
        ReplicaVm *vm;
        int code = 0;

        if (!e || !e->vm || !e->result || !is_own(c, e->vm))
                return false;
        vm = replica_find(c->rpcd->replica, e->vm);
        if (!streq(e->result, "done"))
                code = rpc_error_code(streq(e->result, "canceled") ? ERROR_CANCELED : e->result, &name);
        call_result(c, json_pack("{s:s, s:s?, s:s, s:s, s:o}", "job_id", call_string(c, "job_id"), "vm_id", vm ? vm->id : NULL,
                                 "vm_name", e->vm, "state", streq(e->result, "done") ? "done" : name && streq(name, "Canceled") ?
                                 "canceled" : "failed", "error", name ? json_pack("{s:i, s:s, s:{s:s}}", "code", code, "message",
                                 strempty(e->message), "data", "name", name) : json_null()));
        return true;
}

typedef struct JobState {
        const char *vm_name, *type, *step;
        uint64_t done, total;
} JobState;

static int read_job_property(sd_bus_message *m, JobState *s) {
        const char *name, *path;
        int r;

        r = sd_bus_message_read_basic(m, 's', &name);
        if (r < 0)
                return r;
        if (streq(name, "VM"))
                return sd_bus_message_read(m, "v", "(so)", &s->vm_name, &path);
        if (streq(name, "Type"))
                return sd_bus_message_read(m, "v", "s", &s->type);
        if (streq(name, "Step"))
                return sd_bus_message_read(m, "v", "s", &s->step);
        if (streq(name, "Progress"))
                return sd_bus_message_read(m, "v", "(tt)", &s->done, &s->total);
        return sd_bus_message_skip(m, "v");
}

static int read_job_state(sd_bus_message *m, JobState *s) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_job_property(m, s);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : s->vm_name ? 0 : -EBADMSG;
}

static int on_job_properties(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        JobState s = {};
        Call *c = userdata;
        ReplicaVm *vm;
        unsigned id;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                if (!parse_id(c, &id) || !answer_ended(c, id)) /* it may have ended in between */
                        no_such_job(c);
                return 0;
        }
        if (read_job_state(reply, &s) < 0 || !is_own(c, s.vm_name)) {
                no_such_job(c);
                return 0;
        }
        vm = replica_find(c->rpcd->replica, s.vm_name);
        call_result(c, json_pack("{s:s, s:s?, s:s, s:s, s:s?, s:s?, s:{s:I, s:I}, s:n}", "job_id", call_string(c, "job_id"), "vm_id",
                                 vm ? vm->id : NULL, "vm_name", s.vm_name, "state", "running", "type", s.type, "step", s.step,
                                 "progress", "done", (json_int_t) s.done, "total", (json_int_t) s.total, "error"));
        return 0;
}

static sd_bus_message *job_message(Call *c, unsigned id, const char *interface, const char *member) {
        _cleanup_free_ char *path = strprintf(COMPUTE_JOB_PREFIX "/%u", id);
        sd_bus_message *m = NULL;
        int r;

        r = path ? sd_bus_message_new_method_call(c->rpcd->bus, &m, COMPUTE_BUS_NAME, path, interface, member) : -ENOMEM;
        if (r >= 0 && streq(member, "GetAll"))
                r = sd_bus_message_append(m, "s", COMPUTE_JOB_INTERFACE);
        if (r < 0) {
                sd_bus_message_unref(m);
                call_errno(c, r);
                return NULL;
        }
        return m;
}

void method_job_get(Call *c) {
        const char *job_id = call_string(c, "job_id");
        sd_bus_message *m;
        unsigned id;

        if (startswith(job_id, IMAGE_JOB_ID_PREFIX))
                image_jobs_get(c, job_id);
        else if (!parse_id(c, &id))
                no_such_job(c);
        else if (!answer_ended(c, id)) {
                m = job_message(c, id, "org.freedesktop.DBus.Properties", "GetAll");
                if (m)
                        call_bus(c, m, on_job_properties, CALL_TIMEOUT);
        }
}

static int on_canceled(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Call *c = userdata;

        if (!call_failed(c, reply))
                call_result(c, json_pack("{s:s, s:b}", "job_id", call_string(c, "job_id"), "canceled", true));
        return 0;
}

/* Whose it is, first. */
static int on_job_to_cancel(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Call *c = userdata;
        JobState s = {};
        sd_bus_message *m;
        unsigned id;

        if (sd_bus_message_is_method_error(reply, NULL) || read_job_state(reply, &s) < 0 || !is_own(c, s.vm_name) || !parse_id(c, &id)) {
                no_such_job(c);
                return 0;
        }
        m = job_message(c, id, COMPUTE_JOB_INTERFACE, "Cancel");
        if (m)
                call_bus(c, m, on_canceled, CALL_TIMEOUT);
        return 0;
}

void method_job_cancel(Call *c) {
        const char *job_id = call_string(c, "job_id");
        sd_bus_message *m;
        unsigned id;

        if (startswith(job_id, IMAGE_JOB_ID_PREFIX)) {
                image_jobs_cancel(c, job_id);
                return;
        }
        if (!parse_id(c, &id)) {
                no_such_job(c);
                return;
        }
        m = job_message(c, id, "org.freedesktop.DBus.Properties", "GetAll");
        if (m)
                call_bus(c, m, on_job_to_cancel, CALL_TIMEOUT);
}
