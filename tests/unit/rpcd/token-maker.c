/* SPDX-License-Identifier: Apache-2.0 */

#include "token-maker.h"

#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

json_t *make_key(const char *algorithm, const char *kid) {
        json_t *key = json_pack("{s:s}", "alg", algorithm);

        assert_true(jose_jwk_gen(NULL, key));
        if (kid)
                assert_int_equal(json_object_set_new(key, "kid", json_string(kid)), 0);
        return key;
}

char *base64url(const char *text) {
        json_t *j = jose_b64_enc(text, strlen(text));
        char *s = strdup(json_string_value(j));

        json_decref(j);
        return s;
}

json_t *make_secret(const char *text, const char *kid) {
        _cleanup_free_ char *k = base64url(text);

        return json_pack("{s:s, s:s, s:s, s:s}", "kty", "oct", "alg", "HS256", "kid", kid, "k", k);
}

json_t *public_key(const json_t *key) {
        json_t *copy = json_deep_copy(key);

        assert_true(jose_jwk_pub(NULL, copy));
        return copy;
}

char *key_set(const json_t *const keys[], size_t n) {
        json_t *array = json_array(), *set = json_pack("{s:o}", "keys", array);
        char *text;

        for (size_t i = 0; i < n; i++)
                assert_int_equal(json_array_append_new(array, public_key(keys[i])), 0);
        text = json_dumps(set, JSON_COMPACT);
        json_decref(set);
        assert_non_null(text);
        return text;
}

char *make_token(const char *header, const char *payload, const json_t *key) {
        json_t *h = json_loads(header, 0, NULL), *jws = json_pack("{s:o}", "payload", jose_b64_enc(payload, strlen(payload)));
        json_t *bare = json_deep_copy(key), *sig = json_pack("{s:o}", "protected", h);
        char *text;

        assert_non_null(h);
        (void) json_object_del(bare, "alg");
        assert_true(jose_jws_sig(NULL, jws, sig, bare));
        text = strprintf("%s.%s.%s", json_string_value(json_object_get(jws, "protected")),
                         json_string_value(json_object_get(jws, "payload")), json_string_value(json_object_get(jws, "signature")));
        json_decref(sig);
        json_decref(jws);
        json_decref(bare);
        return text;
}

char *make_unsigned(const char *header, const char *payload, const char *signature) {
        _cleanup_free_ char *h = base64url(header), *p = base64url(payload);

        return strprintf("%s.%s.%s", h, p, signature);
}
