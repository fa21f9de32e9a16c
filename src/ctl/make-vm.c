/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/make-vm.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/spec.h"
#include "ctl/table.h"
#include "ctl/vm-job.h"
#include "ctl/wait-job.h"

int make_vm_call(sd_bus *bus, const char *method, const char *argument, char *const *command, sd_bus_error *error,
                 sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, HERO_PATH, HERO_MANAGER, method);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", argument);
        if (r < 0)
                return r;
        r = spec_append(m, command);
        if (r < 0)
                return r;
        return sd_bus_call(bus, m, 0, error, ret);
}

int make_vm_print(const char *name, const char *path, const char *job) {
        static const Column columns[] = {
                { "NAME", "name", COLUMN_STRING },
                { "OBJECT", "object", COLUMN_STRING },
                { "JOB", "job", COLUMN_STRING },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        if (arg_json == JSON_OFF) {
                if (!arg_quiet)
                        puts(name);
                return 0;
        }
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r < 0)
                return r;
        r = table_add(t, name, path, job);
        return r < 0 ? r : table_print_object(t);
}

int make_vm(const char *method, const char *doing, const char *argument, char *const *command) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        _cleanup_free_ char *name = NULL, *what = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        const char *path, *job;
        int r;

        r = spec_check(command);
        if (r < 0)
                return r;
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        what = strprintf("%s '%s'", doing, argument);
        if (!what)
                return -ENOMEM;
        r = job_waiter_new(bus, &w);
        if (r >= 0)
                r = make_vm_call(bus, method, argument, command, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "oo", &path, &job);
        if (r >= 0)
                r = sd_bus_path_decode(path, HERO_PATH "/vm", &name);
        if (r < 0)
                return report_error(r, &error, "%s", what);
        if (!arg_no_wait) {
                r = job_waiter_add(w, reply, job, path, startswith(doing, "create") ? "create" : "provision", what);
                if (r >= 0)
                        r = job_waiter_run(w);
                if (r < 0)
                        return r;
        }
        return make_vm_print(name ?: path, path, arg_no_wait ? job : NULL);
}
