/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/jwks.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/jwks-client.h"
#include "shared/log.h"

struct Jwks {
        sd_event *event;
        char *url;
        JwksOptions options;
        jwks_done_t done;
        void *userdata;

        JwkSet *keys;       /* NULL: never had any */
        uint64_t fetched;   /* CLOCK_BOOTTIME, as all here: time spent asleep counts */
        uint64_t begun;     /* the last fetch … */
        uint64_t ended;     /* … and its end; 0: there was none */
        bool failed;        /* it did */
        JwksClient *client; /* it is under way */
};

static uint64_t now(const Jwks *j) {
        uint64_t t;

        return sd_event_now(j->event, CLOCK_BOOTTIME, &t) < 0 ? now_usec(CLOCK_BOOTTIME) : t;
}

static void tell_failure(Jwks *j, const char *why) {
        if (!j->failed)
                log_warning("The keys for tokens cannot be fetched from %s: %s.", j->url, why);
        j->failed = true;
}

static void on_answer(JwkSet *keys, const char *why, void *userdata) {
        bool changed = false;
        Jwks *j = userdata;

        j->client = NULL; /* frees itself */
        j->ended = now(j);
        if (keys) {
                changed = !j->keys || !jwk_set_equal(j->keys, keys);
                if (changed || j->failed)
                        log_info("Keys for tokens fetched from %s: %zu.", j->url, jwk_set_size(keys));
                jwk_set_free(j->keys);
                j->keys = keys;
                /* As old as the question: the answer may be from the moment it was asked. */
                j->fetched = j->begun;
                j->failed = false;
        } else
                tell_failure(j, why);
        j->done(changed, j->userdata);
}

static void fetch(Jwks *j) {
        int r;

        j->begun = now(j);
        r = jwks_client_new(j->event, j->url, j->options.timeout_usec, on_answer, j, &j->client);
        if (r >= 0)
                return;
        j->ended = j->begun;
        tell_failure(j, r == -ENOENT || r == -ECONNREFUSED ? "hero-jwks-fetch.socket is not started" : strerror(-r));
}

/* After it j->client says whether one is under way. The pause is from the last one's end: who waited for that one is told that it
 * failed, and not to wait for the next. */
static void fetch_unless_just_now(Jwks *j) {
        if (j->url && !j->client && (j->ended == 0 || now(j) - j->ended >= j->options.pause_usec))
                fetch(j);
}

int jwks_new(sd_event *event, const char *url, const JwksOptions *o, jwks_done_t done, void *userdata, Jwks **ret) {
        _cleanup_(jwks_freep) Jwks *j = new0(Jwks, 1);

        if (!j)
                return -ENOMEM;
        j->event = sd_event_ref(event);
        j->options = (JwksOptions) {
                .timeout_usec = o->timeout_usec ?: 10 * USEC_PER_SEC,
                .lifetime_usec = o->lifetime_usec ?: 10 * 60 * USEC_PER_SEC,
                .keep_usec = o->keep_usec ?: 60 * 60 * USEC_PER_SEC,
                .pause_usec = o->pause_usec ?: 10 * USEC_PER_SEC,
        };
        j->done = done;
        j->userdata = userdata;
        if (free_and_strdup(&j->url, url) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(j);
        return 0;
}

Jwks *jwks_free(Jwks *j) {
        if (!j)
                return NULL;
        jwks_client_free(j->client);
        jwk_set_free(j->keys);
        sd_event_unref(j->event);
        free(j->url);
        return mfree(j);
}

int jwks_need(Jwks *j, const JwkSet **ret) {
        const uint64_t age = j->keys ? now(j) - j->fetched : USEC_INFINITY;
        const uint64_t lifetime = j->options.lifetime_usec;

        /* A little early, so that nobody has to wait while tokens keep coming. */
        if (age >= lifetime - lifetime / 10)
                fetch_unless_just_now(j);
        if (age >= lifetime && j->client && (!j->failed || age >= j->options.keep_usec))
                return 0;
        if (age >= j->options.keep_usec)
                return -ENOKEY;
        *ret = j->keys;
        return 1;
}

int jwks_refresh(Jwks *j) {
        fetch_unless_just_now(j);
        return j->client ? 0 : -EAGAIN;
}
