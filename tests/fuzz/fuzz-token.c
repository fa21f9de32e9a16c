/* SPDX-License-Identifier: Apache-2.0 */

/* What comes in an Authorization header, what a token says, and what an issuer says its keys are: a value within bounds, or a
 * sentence. Signatures are libjose's matter and not checked here. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/base64url.h"
#include "rpcd/token.h"

#define NOW INT64_C(1700000000)
#define USER_ID "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-"
#define CONTENT_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool b) {
        if (!b)
                abort();
}

static void check_claims(Token *t) {
        static RpcConfig config;
        const char *why = NULL;
        TokenClaims c = {};
        int r;

        if (!config.issuer)
                must(rpc_config_defaults(&config) == 0);
        r = token_check(t, &config, NOW, &c, &why);
        must(r == 0 || (r == -EACCES && why));
        if (r < 0)
                return;
        must(c.until > NOW && strspn(c.subject, USER_ID) == strlen(c.subject));
        must(strlen(c.subject) > 0 && strlen(c.subject) <= 64);
}

static void token(const char *text, size_t size) {
        _cleanup_(token_freep) Token *t = NULL;
        const char *why = NULL;
        int r;

        r = token_parse(text, size, &t, &why);
        must(r == 0 || (r == -EACCES && why));
        if (r < 0)
                return;
        must((unsigned) token_algorithm(t) < _JWS_ALGORITHM_MAX);
        check_claims(t);
}

/* The header or the payload of a token whose rest is right. */
static void part(const char *format, const uint8_t *data, size_t size) {
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        char encoded[CONTENT_MAX / 3 * 4 + 8];
        _cleanup_free_ char *text = NULL, *again = NULL;
        size_t n = 0, again_size = 0;

        for (size_t i = 0; i < size; i += 3) {
                uint32_t v = (uint32_t) data[i] << 16 | (i + 1 < size ? (uint32_t) data[i + 1] << 8 : 0) | (i + 2 < size ? data[i + 2] : 0);

                for (unsigned k = 0; k < MIN2(size - i, (size_t) 3) + 1; k++)
                        encoded[n++] = alphabet[v >> (18 - 6 * k) & 63];
        }
        encoded[n] = 0;
        must(base64url_decode(encoded, n, &again, &again_size) == 0 && again_size == size && memcmp(again, data, size) == 0);
        text = strprintf(format, encoded);
        token(text, strlen(text));
}

static void keys(const char *text, size_t size) {
        _cleanup_(jwk_set_freep) JwkSet *s = NULL, *t = NULL;
        _cleanup_free_ char *again = NULL;
        int r;

        r = jwk_set_parse(text, size, &s);
        must(r == 0 || r == -EBADMSG || r == -ENOKEY || r == -E2BIG);
        if (r < 0)
                return;
        must(jwk_set_size(s) > 0 && jwk_set_size(s) <= JWK_SET_KEYS_MAX);
        again = jwk_set_format(s);
        must(again && jwk_set_parse(again, strlen(again), &t) == 0 && jwk_set_equal(s, t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        token((const char *) data, size);
        keys((const char *) data, size);
        if (size <= CONTENT_MAX) {
                part("%s.e30.AAAA", data, size);
                part("eyJhbGciOiJFUzI1NiJ9.%s.AAAA", data, size);
        }
        return 0;
}
