/* SPDX-License-Identifier: Apache-2.0 */

/* org.hero.Compute.ImageJob, documented in dbus/org.hero.Compute.ImageJob.xml. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/imaged.h"
#include "imaged/job.h"
#include "shared/log.h"

static int cancel(sd_bus_message *call, Job *j, sd_bus_error *error) {
        bool asked;
        int r;

        asked = job_withdraw(j, sd_bus_message_get_sender(call));
        r = change_check(j->imaged, call, j->reference, asked, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = sd_bus_reply_method_return(call, NULL);
        if (asked && j->n_requests > 0)
                return r;
        log_info("%s %u of %s was canceled.", j->type == JOB_PULL ? "Pull" : "Import", j->id, j->reference);
        job_end(j, "canceled", j->type == JOB_PULL ? "The pull was canceled." : "The import was canceled.", "");
        return r < 0 ? r : 1;
}

static int method_cancel(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        Job *j = userdata;
        Audit *audit = j->imaged->audit; /* the job goes */

        return audit_answered(audit, call, cancel(call, j, error), error);
}

#define GETTER(name, types, ...)                                                                          \
        static int get_##name(sd_bus *bus, const char *path, const char *interface, const char *property, \
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {                     \
                const Job *j = userdata;                                                                  \
                                                                                                          \
                return sd_bus_message_append(reply, types, __VA_ARGS__);                                  \
        }

GETTER(type, "s", job_type_to_string(j->type))
GETTER(reference, "s", j->reference)
GETTER(step, "s", job_step_to_string(j->step))
GETTER(progress, "(tt)", j->done, j->total)
GETTER(layers, "(uu)", j->layers_done, j->layers_total)

static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "u", NULL, offsetof(Job, id), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Reference", "s", get_reference, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Step", "s", get_step, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Progress", "(tt)", get_progress, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Layers", "(uu)", get_layers, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static int job_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                sd_bus_error *error) {
        Imaged *m = userdata;
        Job *j;

        TAILQ_FOREACH(j, &m->jobs, jobs)
                if (streq(j->path, path)) {
                        *ret_found = j;
                        return 1;
                }
        return 0;
}

static int job_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        _cleanup_strv_free_ char **l = NULL;
        Imaged *m = userdata;
        Job *j;

        TAILQ_FOREACH(j, &m->jobs, jobs)
                if (strv_extend(&l, j->path) < 0)
                        return -ENOMEM;
        *ret_nodes = TAKE_PTR(l);
        return 1;
}

int job_bus_register(Imaged *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, IMAGE_JOB_PREFIX, IMAGE_JOB_INTERFACE, job_vtable, job_find, m);
        return r < 0 ? r : sd_bus_add_node_enumerator(m->bus, NULL, IMAGE_JOB_PREFIX, job_enumerate, m);
}
