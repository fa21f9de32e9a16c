/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/jwk-set.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/base64url.h"

/* An RSA key of fewer bits can be broken, one of more costs us too much. */
#define RSA_BYTES_MIN 256
#define RSA_BYTES_MAX 1024
#define RSA_EXPONENT_BYTES_MAX 4
#define P256_BYTES 32
#define KID_MAX 256u

static const char *const jws_algorithm_table[] = {
        [JWS_RS256] = "RS256",
        [JWS_PS256] = "PS256",
        [JWS_ES256] = "ES256",
};

DEFINE_STRING_TABLE_LOOKUP(jws_algorithm, JwsAlgorithm);

struct JwkSet {
        json_t *keys; /* array of objects with members of our own choice */
};

static void json_put(json_t **j) {
        json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_put)

JwkSet *jwk_set_free(JwkSet *s) {
        if (!s)
                return NULL;
        json_decref(s->keys);
        return mfree(s);
}

static const char *member(const json_t *key, const char *name) {
        return strempty(json_string_value(json_object_get(key, name)));
}

/* Bytes of a number. */
static ssize_t length(const json_t *key, const char *name) {
        const char *s = member(key, name);

        return base64url_size(s, strlen(s));
}

static bool is_rsa(const json_t *key) {
        ssize_t n = length(key, "n"), e = length(key, "e");

        return streq(member(key, "kty"), "RSA") && n >= RSA_BYTES_MIN && n <= RSA_BYTES_MAX && e >= 1 && e <= RSA_EXPONENT_BYTES_MAX;
}

static bool is_p256(const json_t *key) {
        return streq(member(key, "kty"), "EC") && streq(member(key, "crv"), "P-256") && length(key, "x") == P256_BYTES &&
               length(key, "y") == P256_BYTES;
}

/* What its owner says it is for. */
static bool is_for_verifying(const json_t *key) {
        const json_t *use = json_object_get(key, "use"), *operations = json_object_get(key, "key_ops"), *o;
        bool verify = !operations;
        size_t i;

        json_array_foreach(operations, i, o)
                verify = verify || (json_is_string(o) && streq(json_string_value(o), "verify"));
        return verify && (!use || (json_is_string(use) && streq(json_string_value(use), "sig")));
}

static bool is_for_algorithm(const json_t *key, JwsAlgorithm a) {
        const char *own = json_string_value(json_object_get(key, "alg"));

        if (own && !streq(own, jws_algorithm_to_string(a)))
                return false;
        return a == JWS_ES256 ? is_p256(key) : is_rsa(key);
}

static bool is_useful(const json_t *key) {
        const json_t *kid = json_object_get(key, "kid"), *alg = json_object_get(key, "alg");
        bool fits = false;

        if ((kid && (!json_is_string(kid) || json_string_length(kid) > KID_MAX)) || (alg && !json_is_string(alg)))
                return false;
        for (JwsAlgorithm a = 0; a < _JWS_ALGORITHM_MAX; a++)
                fits = fits || is_for_algorithm(key, a);
        return fits && is_for_verifying(key);
}

static json_t *copy_key(const json_t *key) {
        static const char *const members[] = { "kty", "kid", "alg", "n", "e", "crv", "x", "y" };
        _cleanup_json_ json_t *copy = json_object();

        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                json_t *m = json_object_get(key, members[i]);

                if (json_is_string(m) && json_object_set(copy, members[i], m) < 0)
                        return NULL;
        }
        return TAKE_PTR(copy);
}

static int add_useful(JwkSet *s, const json_t *keys) {
        const json_t *key;
        size_t i;

        json_array_foreach(keys, i, key) {
                json_t *copy;

                if (!json_is_object(key) || !is_useful(key))
                        continue;
                if (json_array_size(s->keys) >= JWK_SET_KEYS_MAX)
                        return -E2BIG;
                copy = copy_key(key);
                if (!copy || json_array_append_new(s->keys, copy) < 0)
                        return -ENOMEM;
        }
        return json_array_size(s->keys) > 0 ? 0 : -ENOKEY;
}

int jwk_set_parse(const char *text, size_t size, JwkSet **ret) {
        _cleanup_(jwk_set_freep) JwkSet *s = NULL;
        _cleanup_json_ json_t *j = NULL;
        const json_t *keys;
        int r;

        if (size > JWK_SET_SIZE_MAX)
                return -E2BIG;
        j = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        keys = json_object_get(j, "keys");
        if (!json_is_array(keys))
                return -EBADMSG;
        s = new0(JwkSet, 1);
        if (!s)
                return -ENOMEM;
        s->keys = json_array();
        if (!s->keys)
                return -ENOMEM;
        r = add_useful(s, keys);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

bool jwk_set_equal(const JwkSet *a, const JwkSet *b) {
        return json_equal(a->keys, b->keys);
}

size_t jwk_set_size(const JwkSet *s) {
        return json_array_size(s->keys);
}

static bool has_kid(const json_t *key, const char *kid) {
        const char *own = json_string_value(json_object_get(key, "kid"));

        return own && streq(own, kid);
}

const json_t *jwk_set_find(const JwkSet *s, JwsAlgorithm algorithm, const char *kid, bool *ret_known_kid) {
        const json_t *key, *found = NULL;
        bool known = false;
        unsigned n = 0;
        size_t i;

        json_array_foreach(s->keys, i, key) {
                if (kid && !has_kid(key, kid))
                        continue;
                known = true;
                if (!is_for_algorithm(key, algorithm))
                        continue;
                found = key;
                n++;
        }
        *ret_known_kid = known;
        return n == 1 ? found : NULL;
}

char *jwk_set_format(const JwkSet *s) {
        _cleanup_json_ json_t *j = json_pack("{s:O}", "keys", s->keys);

        return j ? json_dumps(j, JSON_COMPACT) : NULL;
}
