/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/vm-job.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"
#include "ctl/wait-job.h"

bool arg_no_wait = false;

static int call_one(sd_bus *bus, JobWaiter *w, const char *given, const char *method, const char *doing,
                    const uint64_t *flags) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL, *name = NULL, *what = NULL;
        const char *job;
        int r;

        r = resolve_vm(bus, given, &path, &name, &error);
        if (r >= 0) {
                if (flags)
                        r = vm_call(bus, path, method, &error, &reply, "t", *flags);
                else
                        r = vm_call(bus, path, method, &error, &reply, NULL);
        }
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &job);
        if (r < 0)
                return report_error(r, &error, "%s VM '%s'", doing, name ?: given);
        if (arg_no_wait)
                return 0;
        what = strprintf("%s VM '%s'", doing, name);
        return what ? job_waiter_add(w, reply, job, path, doing, what) : -ENOMEM;
}

int vm_jobs(char *const *names, const char *method, const char *doing, const uint64_t *flags) {
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, result = 0;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = job_waiter_new(bus, &w);
        if (r < 0)
                return report_error(r, NULL, "prepare for waiting");
        STRV_FOREACH(name, names) {
                r = call_one(bus, w, *name, method, doing, flags);
                if (r < 0 && result == 0)
                        result = r;
        }
        r = job_waiter_run(w);
        return result < 0 ? result : r;
}
