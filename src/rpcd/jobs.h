/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Jobs of hero-computed and hero-imaged: those that calls wait for, and how the last ones ended, for job.get. */

#include "rpcd/call.h"

int jobs_new(Rpcd *d, Jobs **ret);
Jobs *jobs_free(Jobs *j);

/* error: NULL when it is done; else the error the job ended with. */
typedef void (*job_done_t)(Call *c, const sd_bus_error *error);

/* Calls a method of hero-computed that answers with a job (the last 'o' of its answer), and done when that has ended; with
 * "wait": false the call is answered with the job at once, and done is not called. Errors of the call itself are answered. The
 * message is taken over. */
void jobs_call(Call *c, sd_bus_message *message, job_done_t done);

/* hero-computed has left the bus: what happened to the jobs is for the VMs' states to say. */
void jobs_lost(Jobs *j);

/* How the last ones ended. result: "done", "canceled" or the name of an error. */
#define JOBS_ENDED_MAX 256u

typedef struct EndedJob {
        unsigned id;
        char *vm, *result, *message; /* NULL without memory */
} EndedJob;

const EndedJob *jobs_find_ended(const Jobs *j, unsigned id);
