/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/tokens.h"

#include <gcrypt.h>
#include <sys/queue.h>
#include <uthash.h>

#include "basic/alloc-util.h"
#include "basic/time-util.h"
#include "rpcd/token.h"

#define DIGEST_SIZE 32u
#define LIFETIME (5 * 60 * USEC_PER_SEC)

/* A token that is right, known by the hash of its whole text. */
typedef struct Known {
        uint8_t digest[DIGEST_SIZE];
        Caller *caller;
        int64_t expires; /* seconds of CLOCK_REALTIME */
        uint64_t until;  /* CLOCK_BOOTTIME */
        TAILQ_ENTRY(Known) by_age;
        UT_hash_handle hh;
} Known;

struct Tokens {
        sd_event *event;
        const RpcConfig *config;
        Jwks *jwks;
        void (*retry)(void *userdata);
        void *userdata;
        Known *known;
        TAILQ_HEAD(, Known) by_age;
};

static void known_free(Tokens *t, Known *k) {
        HASH_DEL(t->known, k);
        TAILQ_REMOVE(&t->by_age, k, by_age);
        caller_unref(k->caller);
        free(k);
}

static void forget_all(Tokens *t) {
        while (!TAILQ_EMPTY(&t->by_age))
                known_free(t, TAILQ_FIRST(&t->by_age));
}

/* What another key had signed may be right no more. */
static void on_keys(bool changed, void *userdata) {
        Tokens *t = userdata;

        if (changed)
                forget_all(t);
        t->retry(t->userdata);
}

int tokens_new(sd_event *event, const RpcConfig *config, const JwksOptions *options, void (*retry)(void *userdata), void *userdata,
               Tokens **ret) {
        _cleanup_(tokens_freep) Tokens *t = new0(Tokens, 1);
        int r;

        if (!t)
                return -ENOMEM;
        t->event = sd_event_ref(event);
        t->config = config;
        t->retry = retry;
        t->userdata = userdata;
        TAILQ_INIT(&t->by_age);
        r = jwks_new(event, config->jwks_url, options, on_keys, t, &t->jwks);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Tokens *tokens_free(Tokens *t) {
        if (!t)
                return NULL;
        forget_all(t);
        jwks_free(t->jwks);
        sd_event_unref(t->event);
        return mfree(t);
}

static uint64_t now(const Tokens *t, clockid_t clock) {
        uint64_t usec;

        return sd_event_now(t->event, clock, &usec) < 0 ? now_usec(clock) : usec;
}

static Known *find(Tokens *t, const uint8_t digest[static DIGEST_SIZE]) {
        Known *k;

        HASH_FIND(hh, t->known, digest, DIGEST_SIZE, k);
        if (!k)
                return NULL;
        if (k->until > now(t, CLOCK_BOOTTIME) && k->expires > (int64_t) (now(t, CLOCK_REALTIME) / USEC_PER_SEC))
                return k;
        known_free(t, k);
        return NULL;
}

/* libgcrypt is set up with the first token: it takes some 200 KiB then. */
static int hash(const char *text, size_t size, uint8_t ret[static DIGEST_SIZE]) {
        static bool ready;

        if (!ready) {
                if (!gcry_check_version(NULL))
                        return -ELIBBAD;
                (void) gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
                (void) gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
                ready = true;
        }
        gcry_md_hash_buffer(GCRY_MD_SHA256, ret, text, size);
        return 0;
}

/* 0 or -ENOMEM: then it is right all the same, and checked again the next time. */
static int remember(Tokens *t, const uint8_t digest[static DIGEST_SIZE], Caller *caller, int64_t expires) {
        Known *k;

        if (HASH_COUNT(t->known) >= TOKENS_MAX)
                known_free(t, TAILQ_FIRST(&t->by_age));
        k = new0(Known, 1);
        if (!k)
                return -ENOMEM;
        memcpy(k->digest, digest, DIGEST_SIZE);
        k->caller = caller_ref(caller);
        k->expires = expires;
        k->until = now(t, CLOCK_BOOTTIME) + LIFETIME;
        TAILQ_INSERT_TAIL(&t->by_age, k, by_age);
        HASH_ADD(hh, t->known, digest, DIGEST_SIZE, k);
        return 0;
}

/* The token comes by another peer's connection: the caller is the same but for that. */
static int known_caller(Known *k, uid_t uid, Caller **ret) {
        if (k->caller->uid != uid) {
                Caller *c = caller_new(uid, k->caller->user, k->caller->subject, k->caller->admin);

                if (!c)
                        return -ENOMEM;
                caller_unref(k->caller);
                k->caller = c;
        }
        *ret = caller_ref(k->caller);
        return 1;
}

/* 1, 0: keys are being fetched, -EACCES. */
static int find_key(Tokens *t, const JwkSet *keys, const Token *token, const json_t **ret, const char **ret_why) {
        bool known_kid;

        *ret = jwk_set_find(keys, token_algorithm(token), token_kid(token), &known_kid);
        if (*ret)
                return 1;
        if (known_kid) {
                *ret_why = "The token's algorithm is not that of its key, or it does not say which key it is.";
                return -EACCES;
        }
        if (jwks_refresh(t->jwks) >= 0)
                return 0;
        *ret_why = "The token's key is not one of the issuer's.";
        return -EACCES;
}

static int check(Tokens *t, const JwkSet *keys, const char *text, size_t size, uid_t uid, Caller **ret, int64_t *ret_expires,
                 const char **ret_why) {
        _cleanup_(token_freep) Token *token = NULL;
        TokenClaims claims;
        const json_t *key;
        int r;

        r = token_parse(text, size, &token, ret_why);
        if (r < 0)
                return r;
        r = find_key(t, keys, token, &key, ret_why);
        if (r <= 0)
                return r;
        r = token_verify(token, key, ret_why);
        if (r >= 0)
                r = token_check(token, t->config, (int64_t) (now(t, CLOCK_REALTIME) / USEC_PER_SEC), &claims, ret_why);
        if (r < 0)
                return r;
        *ret = caller_new(uid, claims.subject, claims.subject, claims.admin);
        *ret_expires = claims.until;
        return *ret ? 1 : -ENOMEM;
}

/* Nobody waits, nor has keys fetched, with what is no token at all. */
static int check_form(const char *text, size_t size, const char **ret_why) {
        Token *token;
        int r;

        r = token_parse(text, size, &token, ret_why);
        if (r >= 0)
                token_free(token);
        return r;
}

int tokens_identify(Tokens *t, const char *text, size_t size, uid_t uid, Caller **ret, const char **ret_why) {
        uint8_t digest[DIGEST_SIZE];
        const JwkSet *keys = NULL;
        int64_t expires;
        Known *k;
        int r;

        if (size > TOKEN_SIZE_MAX) {
                *ret_why = "The token is larger than 8 KiB.";
                return -EACCES;
        }
        r = jwks_need(t->jwks, &keys);
        if (r == -ENOKEY) {
                *ret_why = "The keys that tokens are checked with cannot be had, so no token is valid.";
                return -EACCES;
        }
        if (r <= 0)
                return r == 0 ? check_form(text, size, ret_why) : r;
        r = hash(text, size, digest);
        if (r < 0)
                return r;
        k = find(t, digest);
        if (k)
                return known_caller(k, uid, ret);
        r = check(t, keys, text, size, uid, ret, &expires, ret_why);
        if (r > 0)
                (void) remember(t, digest, *ret, expires);
        return r;
}
