/* SPDX-License-Identifier: Apache-2.0 */

/* Room for images, see the header. */

#include "imaged/space.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define WATCH_INTERVAL (500 * USEC_PER_MSEC)

struct SpaceRequest {
        Job *job;
        uint64_t bytes;
        sd_event_source *defer;
        sd_bus_slot *slot;
        space_answer_t answer;
        void *userdata;
};

SpaceRequest *space_request_free(SpaceRequest *s) {
        if (!s)
                return NULL;
        sd_event_source_disable_unref(s->defer);
        sd_bus_slot_unref(s->slot);
        return mfree(s);
}

static void answer(SpaceRequest *s, const char *why) {
        space_answer_t f = s->answer;
        void *userdata = s->userdata;

        if (!why)
                s->job->reserved = s->bytes;
        space_request_free(s);
        f(why, userdata);
}

static char *describe(const Imaged *m, uint64_t bytes, const char *why) {
        char need[FORMAT_BYTES_MAX], taken[FORMAT_BYTES_MAX], max[FORMAT_BYTES_MAX], there[FORMAT_BYTES_MAX],
                        keep[FORMAT_BYTES_MAX];
        uint64_t free_space = 0;

        (void) image_store_free_space(m->store, &free_space);
        return strprintf("There is no room for an image of %s: images take %s of SpaceMax=%s, the disk has %s free of "
                         "which KeepFree=%s stay free, and %s.",
                        format_bytes(need, bytes), format_bytes(taken, catalog_size(&m->catalog)),
                        m->config.space_max >= INT64_MAX ? "infinity" : format_bytes(max, m->config.space_max),
                        format_bytes(there, free_space), format_bytes(keep, m->config.keep_free), why);
}

static int on_uses(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *why = NULL;
        SpaceRequest *s = userdata;
        Imaged *m = s->job->imaged;
        int r;

        r = prune_for(m, reply, s->bytes);
        if (r < 0)
                why = describe(m, s->bytes,
                                r == -ENOSPC ? "what no VM uses is not enough to make it"
                                             : "hero-computed does not say which images its VMs use");
        answer(s, r < 0 ? why ?: "There is no room for the image." : NULL);
        return 0;
}

static int on_defer(sd_event_source *source, void *userdata) {
        answer(userdata, NULL);
        return 0;
}

int space_request(Job *job, uint64_t bytes, space_answer_t f, void *userdata, SpaceRequest **ret) {
        Imaged *m = job->imaged;
        SpaceRequest *s;
        int r;

        s = new(SpaceRequest, 1);
        if (!s)
                return -ENOMEM;
        *s = (SpaceRequest) { .job = job, .bytes = MAX2(bytes, UINT64_C(1)), .answer = f, .userdata = userdata };
        if (space_fits(m, s->bytes))
                r = sd_event_add_defer(m->event, &s->defer, on_defer, s);
        else
                r = uses_ask(m, true, on_uses, s, &s->slot);
        if (r < 0) {
                space_request_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

/* The one that came last. */
static Job *find_writer(Imaged *m) {
        Job *j;

        TAILQ_FOREACH_REVERSE(j, &m->jobs, Jobs, jobs)
                if (j->step == STEP_FETCH || j->step == STEP_CONVERT)
                        return j;
        return NULL;
}

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata) {
        Imaged *m = userdata;
        uint64_t free_space;
        Job *j;

        if (m->n_jobs == 0)
                return 0;
        if (image_store_free_space(m->store, &free_space) >= 0 && free_space < m->config.keep_free &&
            (j = find_writer(m))) {
                _cleanup_free_ char *why = NULL;
                char keep[FORMAT_BYTES_MAX];

                why = strprintf("Less than KeepFree=%s would stay free on the disk.",
                                format_bytes(keep, m->config.keep_free));
                job_fail(j, ERROR_NO_CAPACITY, why ?: "The disk is nearly full.");
        }
        return space_watch(m);
}

int space_watch(Imaged *m) {
        int r, enabled = SD_EVENT_OFF;

        if (!m->watch) {
                r = sd_event_add_time_relative(m->event, &m->watch, CLOCK_MONOTONIC, WATCH_INTERVAL, 0, on_watch, m);
                return r < 0 ? r : sd_event_source_set_description(m->watch, "space");
        }
        /* However fast jobs come, it is looked. */
        r = sd_event_source_get_enabled(m->watch, &enabled);
        if (r < 0 || enabled != SD_EVENT_OFF)
                return MIN2(r, 0);
        r = sd_event_source_set_time_relative(m->watch, WATCH_INTERVAL);
        return r < 0 ? r : sd_event_source_set_enabled(m->watch, SD_EVENT_ONESHOT);
}
