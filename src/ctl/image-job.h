/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Waiting for a job of the image service (pull, import): its progress as one line that is written over on a
 * terminal and as lines elsewhere, and Ctrl-C as a request to cancel. Made before the call that makes the job, so
 * that its end is not missed. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct ImageJob ImageJob;

/* doing and title as people read them, reference quoted by them: "pull", "Pulling". shared: others may have asked
 * for the same job, and it goes on for them when this request is taken back. */
int image_job_new(sd_bus *bus, const char *doing, const char *title, const char *reference, bool shared, ImageJob **ret);
ImageJob *image_job_free(ImageJob *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(ImageJob *, image_job_free);
#define _cleanup_image_job_ _cleanup_(image_job_freep)

/* Makes the call that makes the job; once more where the service was just about to leave, which starts the next one. */
int image_job_call(ImageJob *j, sd_bus_message *call, sd_bus_error *error, const char **ret_path);

/* What the service reads, when it cannot know. */
void image_job_set_input_size(ImageJob *j, uint64_t size);

/* For what else is waited for meanwhile. */
sd_event *image_job_event(ImageJob *j);

/* The caller's own part failed, and it said so: cancels the job; image_job_run() returns error when that is done. */
void image_job_fail(ImageJob *j, int error);

/* Called when the service has answered a cancel: the input may be closed. */
typedef void (*ImageJobCanceled)(ImageJob *j, void *userdata);
void image_job_on_canceled(ImageJob *j, ImageJobCanceled callback, void *userdata);

/* Returns when the job has ended, having reported a failure: 0 and the image's digest (the waiter's), or -errno;
 * -ECANCELED after Ctrl-C. */
int image_job_run(ImageJob *j, const char **ret_digest);

/* On standard output: the digest, or with --json one object; job NULL when it has been waited for. */
int image_job_print(const char *reference, const char *digest, const char *job);
