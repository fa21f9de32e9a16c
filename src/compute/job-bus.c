/* SPDX-License-Identifier: Apache-2.0 */

/* org.hero.Compute.Job, documented in dbus/org.hero.Compute.Job.xml. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/access.h"
#include "compute/manager.h"
#include "shared/bus-util.h"

static int cancel(sd_bus_message *message, Job *j, sd_bus_error *error) {
        int r;

        r = access_check(j->manager, message, "Job", j->vm_name, j->vm ? j->vm->spec.user : NULL, false, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;
        r = job_cancel(j, error);
        return r < 0 ? r : sd_bus_reply_method_return(message, NULL);
}

static int method_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Job *j = userdata;
        Audit *audit = j->manager->audit; /* the job may go */

        return audit_answered(audit, message, cancel(message, j, error), error);
}

static int get_vm(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                  void *userdata, sd_bus_error *error) {
        const Job *j = userdata;

        return sd_bus_message_append(reply, "(so)", j->vm_name, j->vm ? j->vm->path : "/");
}

static int get_type(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        const Job *j = userdata;

        return sd_bus_message_append(reply, "s", job_type_to_string(j->type));
}

static int get_step(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        const Job *j = userdata;

        return sd_bus_message_append(reply, "s", strempty(j->word));
}

static int get_progress(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *error) {
        const Job *j = userdata;

        return sd_bus_message_append(reply, "(tt)", j->done, j->total);
}

static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "u", NULL, offsetof(Job, id), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("VM", "(so)", get_vm, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Step", "s", get_step, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Progress", "(tt)", get_progress, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static int job_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                    sd_bus_error *error) {
        Manager *m = userdata;
        const char *number;
        uint32_t id;
        unsigned u;
        Job *j;

        number = startswith(path, COMPUTE_JOB_PREFIX "/");
        if (!number || parse_uint(number, UINT32_MAX, &u) < 0)
                return 0;
        id = u;
        HASH_FIND(hh, m->jobs, &id, sizeof(id), j);
        if (!j || !streq(j->path, path))
                return 0;
        *ret_found = j;
        return 1;
}

static int job_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        _cleanup_strv_free_ char **l = NULL;
        Manager *m = userdata;
        Job *j, *next;

        HASH_ITER(hh, m->jobs, j, next)
                if (strv_extend(&l, j->path) < 0)
                        return -ENOMEM;
        *ret_nodes = TAKE_PTR(l);
        return 1;
}

int job_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, COMPUTE_JOB_PREFIX, COMPUTE_JOB_INTERFACE, job_vtable, job_find, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, COMPUTE_JOB_PREFIX, job_enumerate, m);
}

const sd_bus_vtable *job_bus_vtable(void) {
        return job_vtable;
}
