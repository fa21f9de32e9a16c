/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/vm-job.h"
#include "ctl/wait-job.h"

static int deprovision(sd_bus *bus, JobWaiter *w, const char *user) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *what = NULL;
        const char *job;
        int r;

        r = manager_call(bus, "DeprovisionUser", &error, &reply, "s", user);
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &job);
        if (r < 0)
                return report_error(r, &error, "deprovision user '%s'", user);
        if (arg_no_wait)
                return 0;
        what = strprintf("deprovision user '%s'", user);
        return what ? job_waiter_add(w, reply, job, NULL, "delete", what) : -ENOMEM;
}

static int run(int argc, char **argv) {
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, result = 0;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = job_waiter_new(bus, &w);
        if (r < 0)
                return report_error(r, NULL, "prepare for waiting");
        STRV_FOREACH(user, argv) {
                r = deprovision(bus, w, *user);
                if (r < 0 && result == 0)
                        result = r;
        }
        r = job_waiter_run(w);
        return result < 0 ? result : r;
}

static const Option options[] = {
        OPTION_NO_WAIT,
        {},
};

const Verb verb_deprovision = {
        .name = "deprovision",
        .arguments = "USER…",
        .summary = "Stop and remove the VMs of users, with their disks",
        .options = options,
        .min = 1,
        .max = -1,
        .run = run,
};
