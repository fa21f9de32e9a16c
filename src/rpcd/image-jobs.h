/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Jobs of hero-imaged: those that calls wait for, and how the last ones ended. Their ids are "image-7": the numbers are of another
 * service than those of the others. */

#include "rpcd/call.h"

typedef struct ImageJobs ImageJobs;

int image_jobs_new(Rpcd *d, ImageJobs **ret);
ImageJobs *image_jobs_free(ImageJobs *j); /* answers who still waits */
DEFINE_TRIVIAL_CLEANUP_FUNC(ImageJobs *, image_jobs_free);

/* error: NULL when it is done; digest: of the image. */
typedef void (*image_job_done_t)(Call *c, const sd_bus_error *error, const char *digest);

/* Calls a method of hero-imaged that answers with a job (message is taken over), and done when that has ended. With "wait": false
 * the call is answered with the job at once, and done is not called. Errors of the call itself are answered. */
void image_jobs_call(Call *c, sd_bus_message *message, image_job_done_t done);

/* job.get and job.cancel of an id that begins with "image-"; administrators'. */
#define IMAGE_JOB_ID_PREFIX "image-"
void image_jobs_get(Call *c, const char *job_id);
void image_jobs_cancel(Call *c, const char *job_id);
