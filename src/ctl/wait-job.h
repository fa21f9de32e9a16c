/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Waiting for jobs of the service. A waiter is made before the calls that make jobs, so that no end is missed;
 * then it waits for all of them, shows progress on a terminal when that takes longer than a second, and turns
 * Ctrl-C into Job.Cancel.
 *
 * Jobs end with the service. One that is started again finishes or undoes what they were at, without a job; then it is the VM
 * that is waited for, and what becomes of it that counts. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct JobWaiter JobWaiter;

int job_waiter_new(sd_bus *bus, JobWaiter **ret);
JobWaiter *job_waiter_free(JobWaiter *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(JobWaiter *, job_waiter_free);

/* path is out of reply, "/" no job: done already. what is the sentence's middle: "start VM 'x'". verb is a literal, the type of
 * the job; vm the object of the VM, NULL for that of the job. */
int job_waiter_add(JobWaiter *w, sd_bus_message *reply, const char *path, const char *vm, const char *verb, const char *what);

/* The end of the terminal (SIGHUP) counts as Ctrl-C; for callers who have more to do then. */
void job_waiter_take_hangup(JobWaiter *w);

/* The jobs are to be done whatever happens: Ctrl-C does not cancel them; when it comes a second time they are not waited
 * for. */
void job_waiter_set_firm(JobWaiter *w);

/* Returns when all have ended, having reported each failure: 0, or the negative errno of the first one;
 * -ECANCELED after Ctrl-C. */
int job_waiter_run(JobWaiter *w);
