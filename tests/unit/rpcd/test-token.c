/* SPDX-License-Identifier: Apache-2.0 */

/* Tokens that are right in one way each, and wrong in one way each. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/base64url.h"
#include "rpcd/token.h"
#include "token-maker.h"

#define NOW INT64_C(1700000000)
#define CLAIMS "{\"iss\":\"hero_auth\",\"aud\":\"hero-compute\",\"sub\":\"alice\",\"exp\":1700000300}"

static json_t *rsa, *pss, *ec, *stranger;
static JwkSet *keys;
static RpcConfig config;
static const char *why;
static TokenClaims claims;
static char subject[128];

static int set_up(void **state) {
        _cleanup_free_ char *text = NULL;

        rsa = make_key("RS256", "rsa");
        pss = make_key("PS256", "pss");
        ec = make_key("ES256", "ec");
        stranger = make_key("RS256", "rsa");
        text = key_set((const json_t *[]) { rsa, pss, ec }, 3);
        assert_int_equal(jwk_set_parse(text, strlen(text), &keys), 0);
        return rpc_config_defaults(&config);
}

static int tear_down(void **state) {
        jwk_set_free(keys);
        json_decref(rsa);
        json_decref(pss);
        json_decref(ec);
        json_decref(stranger);
        rpc_config_done(&config);
        return 0;
}

/* What tokens.c does, with a clock that stands. */
static int check_text(const char *text) {
        _cleanup_(token_freep) Token *t = NULL;
        const json_t *key;
        bool known;
        int r;

        why = NULL;
        claims = (TokenClaims) {};
        r = token_parse(text, strlen(text), &t, &why);
        if (r < 0)
                return r;
        key = jwk_set_find(keys, token_algorithm(t), token_kid(t), &known);
        if (!key) {
                why = known ? "key confusion" : "no such key";
                return -EACCES;
        }
        r = token_verify(t, key, &why);
        if (r >= 0)
                r = token_check(t, &config, NOW, &claims, &why);
        if (r >= 0)
                (void) snprintf(subject, sizeof(subject), "%s", claims.subject);
        return r;
}

static int check_token(const char *header, const char *payload, const json_t *key) {
        _cleanup_free_ char *text = make_token(header, payload, key);

        return check_text(text);
}

static void assert_refused(int r, const char *word) {
        assert_int_equal(r, -EACCES);
        assert_non_null(why);
        if (!strstr(why, word))
                fail_msg("refused for another reason than %s: %s", word, why);
}

static void tokens_of_every_algorithm_are_right(void **state) {
        assert_int_equal(check_token("{\"alg\":\"RS256\",\"kid\":\"rsa\"}", CLAIMS, rsa), 0);
        assert_int_equal(check_token("{\"alg\":\"PS256\",\"kid\":\"pss\",\"typ\":\"JWT\"}", CLAIMS, pss), 0);
        assert_int_equal(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}", CLAIMS, ec), 0);
        assert_string_equal(subject, "alice");
        assert_false(claims.admin);
        assert_int_equal(claims.until, 1700000360);
}

static void without_a_key_id_the_only_key_for_the_algorithm_is_it(void **state) {
        assert_int_equal(check_token("{\"alg\":\"ES256\"}", CLAIMS, ec), 0);
        assert_int_equal(check_token("{\"alg\":\"RS256\"}", CLAIMS, rsa), 0);
        assert_refused(check_token("{\"alg\":\"RS256\"}", CLAIMS, stranger), "signature");
}

static void one_without_a_signature_is_refused(void **state) {
        static const char *const headers[] = {
                "{\"alg\":\"none\"}", "{\"alg\":\"None\",\"kid\":\"rsa\"}", "{\"alg\":\"NONE\"}", "{\"alg\":\"\"}", "{\"alg\":null}", "{}",
                "{\"alg\":[\"RS256\"]}",
        };

        for (size_t i = 0; i < ELEMENTSOF(headers); i++) {
                _cleanup_free_ char *none = make_unsigned(headers[i], CLAIMS, ""), *some = make_unsigned(headers[i], CLAIMS, "AAAA");

                assert_refused(check_text(none), "compact form");
                assert_refused(check_text(some), "not signed by");
        }
}

static void one_signed_with_the_public_key_as_a_secret_is_refused(void **state) {
        json_t *public = public_key(rsa), *secret;
        _cleanup_free_ char *text = json_dumps(public, JSON_COMPACT);

        secret = make_secret(text, "rsa");
        assert_refused(check_token("{\"alg\":\"HS256\",\"kid\":\"rsa\"}", CLAIMS, secret), "not signed by");
        json_decref(secret);
        json_decref(public);
}

static void a_symmetric_key_in_the_set_is_not_used(void **state) {
        json_t *secret = make_secret("0123456789abcdef0123456789abcdef", "s");
        _cleanup_free_ char *set = NULL, *one = json_dumps(secret, 0);
        JwkSet *s;

        set = strprintf("{\"keys\":[%s]}", one);
        assert_int_equal(jwk_set_parse(set, strlen(set), &s), -ENOKEY);
        assert_refused(check_token("{\"alg\":\"HS256\",\"kid\":\"s\"}", CLAIMS, secret), "not signed by");
        json_decref(secret);
}

static void algorithms_that_fit_no_key_of_ours_are_refused(void **state) {
        static const char *const others[] = { "RS384", "RS512", "PS512", "ES384", "ES512", "EdDSA", "HS256", "HS512", "rs256", "RS256 " };

        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                _cleanup_free_ char *header = strprintf("{\"alg\":\"%s\",\"kid\":\"rsa\"}", others[i]),
                                    *text = make_unsigned(header, CLAIMS, "AAAA");

                assert_refused(check_text(text), "not signed by");
        }
}

static void the_algorithm_must_be_that_of_the_key(void **state) {
        /* The right signature of one key with the name of another, and the same key by another algorithm. */
        assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":\"rsa\"}", CLAIMS, ec), "key confusion");
        assert_refused(check_token("{\"alg\":\"RS256\",\"kid\":\"ec\"}", CLAIMS, rsa), "key confusion");
        assert_refused(check_token("{\"alg\":\"PS256\",\"kid\":\"rsa\"}", CLAIMS, rsa), "key confusion");
        assert_refused(check_token("{\"alg\":\"RS256\",\"kid\":\"pss\"}", CLAIMS, pss), "key confusion");
}

static void another_key_is_refused(void **state) {
        assert_refused(check_token("{\"alg\":\"RS256\",\"kid\":\"rsa\"}", CLAIMS, stranger), "signature");
        assert_refused(check_token("{\"alg\":\"RS256\",\"kid\":\"other\"}", CLAIMS, rsa), "no such key");
}

static void what_was_changed_after_it_was_signed_is_refused(void **state) {
        _cleanup_free_ char *text = make_token("{\"alg\":\"ES256\",\"kid\":\"ec\"}", CLAIMS, ec),
                            *other = base64url("{\"iss\":\"hero_auth\",\"aud\":\"hero-compute\",\"sub\":\"bob\",\"exp\":1700000300}"),
                            *changed = NULL;
        const char *first = strchr(text, '.'), *last = strrchr(text, '.');

        changed = strprintf("%.*s.%s%s", (int) (first - text), text, other, last);
        assert_refused(check_text(changed), "signature");
        for (size_t n = 0; n < strlen(text); n += 7) {
                _cleanup_free_ char *cut = strndup(text, n);

                assert_int_equal(check_text(cut), -EACCES);
        }
}

static void headers_that_we_cannot_heed_are_refused(void **state) {
        assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\",\"crit\":[\"x\"],\"x\":1}", CLAIMS, ec), "critical");
        assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\",\"crit\":[]}", CLAIMS, ec), "critical");
        assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\",\"crit\":null}", CLAIMS, ec), "critical");
        assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"logout+jwt\"}", CLAIMS, ec), "type");
        assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":7}", CLAIMS, ec), "key id");
}

/* The attacker's own key, in the token: it must not be looked at. */
static void keys_that_the_token_brings_are_not_used(void **state) {
        json_t *public = public_key(stranger);
        _cleanup_free_ char *jwk = json_dumps(public, 0), *header = NULL, *without = NULL;

        header = strprintf("{\"alg\":\"RS256\",\"kid\":\"rsa\",\"jwk\":%s,\"jku\":\"http://127.0.0.1:1/\"}", jwk);
        assert_refused(check_token(header, CLAIMS, stranger), "signature");
        without = strprintf("{\"alg\":\"RS256\",\"jwk\":%s}", jwk);
        assert_refused(check_token(without, CLAIMS, stranger), "signature");
        json_decref(public);
}

static void it_must_be_for_us_and_of_our_issuer(void **state) {
        static const char *const right[] = {
                "{\"iss\":\"hero_auth\",\"aud\":[\"hero-compute\"],\"sub\":\"a\",\"exp\":1700000300}",
                "{\"iss\":\"hero_auth\",\"aud\":[\"x\",\"hero-compute\"],\"sub\":\"a\",\"exp\":1700000300}",
        };
        static const char *const wrong[][2] = {
                { "{\"iss\":\"hero_auth\",\"aud\":\"other\",\"sub\":\"a\",\"exp\":1700000300}", "audience" },
                { "{\"iss\":\"hero_auth\",\"aud\":\"hero-compute2\",\"sub\":\"a\",\"exp\":1700000300}", "audience" },
                { "{\"iss\":\"hero_auth\",\"aud\":[],\"sub\":\"a\",\"exp\":1700000300}", "audience" },
                { "{\"iss\":\"hero_auth\",\"aud\":[[\"hero-compute\"]],\"sub\":\"a\",\"exp\":1700000300}", "audience" },
                { "{\"iss\":\"hero_auth\",\"aud\":{\"hero-compute\":1},\"sub\":\"a\",\"exp\":1700000300}", "audience" },
                { "{\"iss\":\"hero_auth\",\"sub\":\"a\",\"exp\":1700000300}", "audience" },
                { "{\"iss\":\"other\",\"aud\":\"hero-compute\",\"sub\":\"a\",\"exp\":1700000300}", "issuer" },
                { "{\"iss\":[\"hero_auth\"],\"aud\":\"hero-compute\",\"sub\":\"a\",\"exp\":1700000300}", "issuer" },
                { "{\"aud\":\"hero-compute\",\"sub\":\"a\",\"exp\":1700000300}", "issuer" },
                { "{\"iss\":\"x\",\"iss\":\"hero_auth\",\"aud\":\"hero-compute\",\"sub\":\"a\",\"exp\":1700000300}", "JSON object" },
                { "[]", "JSON object" },
                { "{\"iss\":\"hero_auth\\u0000x\",\"aud\":\"hero-compute\",\"sub\":\"a\",\"exp\":1700000300}", "JSON object" },
        };

        for (size_t i = 0; i < ELEMENTSOF(right); i++)
                assert_int_equal(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\"}", right[i], ec), 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(check_token("{\"alg\":\"ES256\",\"kid\":\"ec\"}", wrong[i][0], ec), wrong[i][1]);
}

static int check_claims(const char *format, ...) {
        _cleanup_free_ char *text = NULL, *payload = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        assert_true(n >= 0);
        payload = strprintf("{\"iss\":\"hero_auth\",\"aud\":\"hero-compute\",%s}", text);
        return check_token("{\"alg\":\"ES256\",\"kid\":\"ec\"}", payload, ec);
}

static void times_have_a_minute_of_leeway(void **state) {
        assert_int_equal(check_claims("\"sub\":\"a\",\"exp\":%lld", (long long) NOW - 59), 0);
        assert_refused(check_claims("\"sub\":\"a\",\"exp\":%lld", (long long) NOW - 60), "expired");
        assert_int_equal(check_claims("\"sub\":\"a\",\"exp\":%lld.5", (long long) NOW - 1), 0);
        assert_int_equal(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"nbf\":%lld", (long long) NOW + 60), 0);
        assert_refused(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"nbf\":%lld", (long long) NOW + 61), "not valid yet");
        assert_int_equal(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"iat\":%lld", (long long) NOW + 60), 0);
        assert_refused(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"iat\":%lld", (long long) NOW + 61), "not valid yet");
        assert_refused(check_claims("\"sub\":\"a\",\"exp\":0"), "expired");
}

static void what_is_no_time_is_refused(void **state) {
        static const char *const bad[] = {
                "\"1700000300\"", "null", "true", "[]", "-1", "1e300", "1e16", "{}",
        };

        assert_refused(check_claims("\"sub\":\"a\""), "no end");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_refused(check_claims("\"sub\":\"a\",\"exp\":%s", bad[i]), "time");
                assert_refused(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"nbf\":%s", bad[i]), "time");
                assert_refused(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"iat\":%s", bad[i]), "time");
        }
}

static void the_subject_must_be_a_user_id(void **state) {
        static const char *const right[] = { "a", "alice@example.org", "A.b_c-9", "0123456789012345678901234567890123456789012345678901234567890123" };
        static const char *const wrong[] = {
                "", "a b", "a/b", "a\\n", "\xc3\xa4", "a:b", "01234567890123456789012345678901234567890123456789012345678901234",
        };

        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                assert_int_equal(check_claims("\"exp\":1700000300,\"sub\":\"%s\"", right[i]), 0);
                assert_string_equal(subject, right[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_refused(check_claims("\"exp\":1700000300,\"sub\":\"%s\"", wrong[i]), "subject");
        assert_refused(check_claims("\"exp\":1700000300"), "subject");
        assert_refused(check_claims("\"exp\":1700000300,\"sub\":7"), "subject");
        assert_refused(check_claims("\"exp\":1700000300,\"sub\":null"), "subject");
}

static bool is_admin(const char *claim) {
        assert_int_equal(check_claims("\"sub\":\"a\",\"exp\":1700000300,%s", claim), 0);
        return claims.admin;
}

static void a_scope_or_role_makes_an_administrator(void **state) {
        assert_true(is_admin("\"scope\":\"hero-compute:admin\""));
        assert_true(is_admin("\"scope\":\"openid  hero-compute:admin profile\""));
        assert_true(is_admin("\"scope\":[\"openid\",\"hero-compute:admin\"]"));
        assert_false(is_admin("\"scope\":\"openid\""));
        assert_false(is_admin("\"scope\":\"hero-compute:administrator xhero-compute:admin\""));
        assert_false(is_admin("\"scope\":[[\"hero-compute:admin\"],{\"hero-compute:admin\":true},true]"));
        assert_false(is_admin("\"scope\":true"));
        assert_false(is_admin("\"roles\":[\"hero-compute:admin\"]"));

        assert_int_equal(free_and_strdup(&config.admin_claim, "roles"), 0);
        assert_int_equal(free_and_strdup(&config.admin_value, "admin"), 0);
        assert_true(is_admin("\"roles\":[\"user\",\"admin\"]"));
        assert_true(is_admin("\"roles\":\"admin\""));
        assert_false(is_admin("\"roles\":[\"user\"],\"scope\":\"admin hero-compute:admin\""));

        free(config.admin_value);
        config.admin_value = NULL;
        assert_false(is_admin("\"roles\":[\"\",\"admin\"]"));
        assert_int_equal(free_and_strdup(&config.admin_claim, "scope"), 0);
        assert_int_equal(free_and_strdup(&config.admin_value, "hero-compute:admin"), 0);
}

static void without_an_issuer_or_audience_to_expect_none_is_right(void **state) {
        char *issuer = config.issuer, *audience = config.audience;

        config.issuer = NULL;
        assert_refused(check_claims("\"sub\":\"a\",\"exp\":1700000300"), "configuration");
        config.issuer = issuer;
        config.audience = NULL;
        assert_refused(check_claims("\"sub\":\"a\",\"exp\":1700000300"), "configuration");
        config.audience = audience;
}

static void what_is_too_large_is_refused_unread(void **state) {
        _cleanup_free_ char *much = malloc(TOKEN_SIZE_MAX + 2), *filler = NULL;

        memset(much, 'A', TOKEN_SIZE_MAX + 1);
        much[TOKEN_SIZE_MAX + 1] = 0;
        assert_refused(check_text(much), "8 KiB");
        much[TOKEN_SIZE_MAX] = 0;
        assert_refused(check_text(much), "compact form");
        filler = strndup(much, 5500);
        assert_int_equal(check_claims("\"sub\":\"a\",\"exp\":1700000300,\"x\":\"%s\"", filler), 0);
}

static void other_forms_are_refused(void **state) {
        static const char *const bad[] = {
                "", ".", "..", "...", "a.b.c", "a", "a.b", "eyJhbGciOiJFUzI1NiJ9..", "eyJhbGciOiJFUzI1NiJ9.e30.", ".e30.AAAA",
                "eyJhbGciOiJFUzI1NiJ9.e30.AAAA.AAAA", "eyJhbGciOiJFUzI1NiJ9.e30.A", "eyJhbGciOiJFUzI1NiJ9.e30=.AAAA",
                "eyJhbGciOiJFUzI1NiJ9 .e30.AAAA", "{\"payload\":\"e30\"}", "eyJhbGciOiJFUzI1NiJ9.e30.AA+A", "eyJhbGciOiJFUzI1NiJ9.e31.AAAA",
                "W10.e30.AAAA", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_refused(check_text(bad[i]), "compact form");
}

static void base64url_has_one_text_for_each_content(void **state) {
        static const char *const right[][2] = {
                { "", "" }, { "Zg", "f" }, { "Zm8", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg", "foob" }, { "Zm9vYmE", "fooba" },
                { "Zm9vYmFy", "foobar" }, { "_-8", "\xff\xef" },
        };
        static const char *const wrong[] = { "Z", "Zh", "Zm9", "Zg==", "Zm9v=", "Zm 9", "Zm9v\n", "+/8", "Zm9vY" };
        char *text;
        size_t n;

        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                assert_int_equal(base64url_decode(right[i][0], strlen(right[i][0]), &text, &n), 0);
                assert_int_equal(n, strlen(right[i][1]));
                assert_int_equal(base64url_size(right[i][0], strlen(right[i][0])), n);
                assert_string_equal(text, right[i][1]);
                free(text);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (base64url_decode(wrong[i], strlen(wrong[i]), &text, &n) != -EBADMSG)
                        fail_msg("taken: %s", wrong[i]);
}

static int parse_key(const char *name, json_t *value) {
        json_t *key = public_key(rsa), *set = json_pack("{s:[o]}", "keys", key);
        _cleanup_free_ char *text = NULL;
        JwkSet *s = NULL;
        int r;

        assert_int_equal(json_object_set_new(key, name, value), 0);
        text = json_dumps(set, 0);
        json_decref(set);
        r = jwk_set_parse(text, strlen(text), &s);
        jwk_set_free(s);
        return r;
}

static void keys_that_are_not_for_tokens_are_left_out(void **state) {
        _cleanup_free_ char *small = malloc(341);

        memset(small, 'A', 340);
        small[340] = 0;
        assert_int_equal(parse_key("use", json_string("sig")), 0);
        assert_int_equal(parse_key("use", json_string("enc")), -ENOKEY);
        assert_int_equal(parse_key("use", json_integer(1)), -ENOKEY);
        assert_int_equal(parse_key("key_ops", json_pack("[s,s]", "sign", "verify")), 0);
        assert_int_equal(parse_key("key_ops", json_pack("[s]", "encrypt")), -ENOKEY);
        assert_int_equal(parse_key("key_ops", json_string("verify")), -ENOKEY);
        assert_int_equal(parse_key("alg", json_string("RS512")), -ENOKEY);
        assert_int_equal(parse_key("alg", json_string("HS256")), -ENOKEY);
        assert_int_equal(parse_key("alg", json_null()), -ENOKEY);
        assert_int_equal(parse_key("kid", json_integer(1)), -ENOKEY);
        assert_int_equal(parse_key("kty", json_string("oct")), -ENOKEY);
        assert_int_equal(parse_key("n", json_string(small)), -ENOKEY); /* 255 bytes */
        assert_int_equal(parse_key("e", json_string("AQABAQABAQAB")), -ENOKEY);
        assert_int_equal(parse_key("e", json_string("")), -ENOKEY);
}

static void what_is_no_set_of_keys_is_none(void **state) {
        static const char *const bad[] = { "", "null", "[]", "{}", "{\"keys\":{}}", "{\"keys\":null}", "{\"keys\":[],\"keys\":[]}", "<html>" };
        static const char *const empty[] = { "{\"keys\":[]}", "{\"keys\":[1,\"x\",null,[]]}", "{\"keys\":[{}]}" };
        JwkSet *s;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(jwk_set_parse(bad[i], strlen(bad[i]), &s), -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(empty); i++)
                assert_int_equal(jwk_set_parse(empty[i], strlen(empty[i]), &s), -ENOKEY);
        assert_int_equal(jwk_set_parse("{}", JWK_SET_SIZE_MAX + 1, &s), -E2BIG);
}

static void a_set_has_bounds_and_no_private_part(void **state) {
        const json_t *many[JWK_SET_KEYS_MAX + 1];
        _cleanup_free_ char *text = NULL, *again = NULL, *private = NULL, *one = json_dumps(ec, 0);
        JwkSet *s = NULL, *t = NULL;

        for (unsigned i = 0; i < ELEMENTSOF(many); i++)
                many[i] = ec;
        text = key_set(many, ELEMENTSOF(many));
        assert_int_equal(jwk_set_parse(text, strlen(text), &s), -E2BIG);

        private = strprintf("{\"keys\":[%s]}", one);
        assert_int_equal(jwk_set_parse(private, strlen(private), &s), 0);
        again = jwk_set_format(s);
        assert_null(strstr(again, "\"d\""));
        assert_int_equal(jwk_set_parse(again, strlen(again), &t), 0);
        assert_true(jwk_set_equal(s, t));
        assert_false(jwk_set_equal(s, keys));
        assert_int_equal(jwk_set_size(t), 1);
        jwk_set_free(s);
        jwk_set_free(t);
}

static void two_keys_of_one_id_are_told_apart_by_the_algorithm_only(void **state) {
        json_t *a = make_key("ES256", "same"), *b = make_key("ES256", "same"), *c = make_key("RS256", "same");
        _cleanup_free_ char *text = key_set((const json_t *[]) { a, b, c }, 3);
        JwkSet *s;
        bool known;

        assert_int_equal(jwk_set_parse(text, strlen(text), &s), 0);
        assert_null(jwk_set_find(s, JWS_ES256, "same", &known));
        assert_true(known);
        assert_non_null(jwk_set_find(s, JWS_RS256, "same", &known));
        assert_null(jwk_set_find(s, JWS_ES256, NULL, &known));
        assert_null(jwk_set_find(s, JWS_ES256, "other", &known));
        assert_false(known);
        jwk_set_free(s);
        json_decref(a);
        json_decref(b);
        json_decref(c);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tokens_of_every_algorithm_are_right),
                cmocka_unit_test(without_a_key_id_the_only_key_for_the_algorithm_is_it),
                cmocka_unit_test(one_without_a_signature_is_refused),
                cmocka_unit_test(one_signed_with_the_public_key_as_a_secret_is_refused),
                cmocka_unit_test(a_symmetric_key_in_the_set_is_not_used),
                cmocka_unit_test(algorithms_that_fit_no_key_of_ours_are_refused),
                cmocka_unit_test(the_algorithm_must_be_that_of_the_key),
                cmocka_unit_test(another_key_is_refused),
                cmocka_unit_test(what_was_changed_after_it_was_signed_is_refused),
                cmocka_unit_test(headers_that_we_cannot_heed_are_refused),
                cmocka_unit_test(keys_that_the_token_brings_are_not_used),
                cmocka_unit_test(it_must_be_for_us_and_of_our_issuer),
                cmocka_unit_test(times_have_a_minute_of_leeway),
                cmocka_unit_test(what_is_no_time_is_refused),
                cmocka_unit_test(the_subject_must_be_a_user_id),
                cmocka_unit_test(a_scope_or_role_makes_an_administrator),
                cmocka_unit_test(without_an_issuer_or_audience_to_expect_none_is_right),
                cmocka_unit_test(what_is_too_large_is_refused_unread),
                cmocka_unit_test(other_forms_are_refused),
                cmocka_unit_test(base64url_has_one_text_for_each_content),
                cmocka_unit_test(keys_that_are_not_for_tokens_are_left_out),
                cmocka_unit_test(what_is_no_set_of_keys_is_none),
                cmocka_unit_test(a_set_has_bounds_and_no_private_part),
                cmocka_unit_test(two_keys_of_one_id_are_told_apart_by_the_algorithm_only),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
