/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room for an image before it is fetched: within SpaceMax= and KeepFree= of images.conf(5), if need be in the place of images that
 * no VM uses. And while one is made, for what will be is only estimated. */

#include "imaged/imaged.h"

typedef struct SpaceRequest SpaceRequest;

/* why: NULL when there is room, else a sentence. The request is freed afterwards. Called before the loop goes on or later,
 * not before space_request() has returned. */
typedef void (*space_answer_t)(const char *why, void *userdata);

/* bytes are counted as taken as long as the job is there. */
int space_request(Job *job, uint64_t bytes, space_answer_t answer, void *userdata, SpaceRequest **ret);
SpaceRequest *space_request_free(SpaceRequest *s);

/* Looks after the disk from time to time while there are jobs; ends those that would fill it. */
int space_watch(Imaged *m);
