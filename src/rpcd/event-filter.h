/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which of a stream of transitions a call is answered with. Pure.
 *
 * With a beginning (since) the first that come after it, so that whoever asks again from next misses none; without, the last. */

#include <jansson.h>

#include "rpcd/feed.h"

typedef struct EventFilter {
        json_t **ring;
        unsigned limit, first, n;
        bool oldest;   /* the first ones; the others are not looked at once it is full */
        uint64_t next; /* sequence number of the last that was looked at */
} EventFilter;

void event_filter_init(EventFilter *f, unsigned limit, bool oldest, uint64_t since);
void event_filter_done(EventFilter *f);

bool event_filter_is_full(const EventFilter *f); /* what comes makes no difference */

/* vm_id may be NULL. 0 or -ENOMEM. */
int event_filter_add(EventFilter *f, const Transition *t, const char *vm_id);

/* What is kept, as a new array, oldest first; NULL without memory. */
json_t *event_filter_take(EventFilter *f);
