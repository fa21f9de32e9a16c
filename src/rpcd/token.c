/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/token.h"

#include <strings.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/base64url.h"
#include "rpcd/jose-library.h"

#define USER_ID_MAX 64u
/* Seconds: what is beyond, no clock will ever show. As a double it is exact. */
#define TIME_MAX 1e15

#define PARTS 3u

struct Token {
        json_t *header;
        json_t *jws;    /* what libjose takes: the three texts as they came */
        char *payload;
        size_t payload_size;
        json_t *claims; /* the payload, once that is to be believed */
        JwsAlgorithm algorithm;
};

static void json_put(json_t **j) {
        json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_put)

static int refuse(const char **ret_why, const char *why) {
        *ret_why = why;
        return -EACCES;
}

Token *token_free(Token *t) {
        if (!t)
                return NULL;
        json_decref(t->header);
        json_decref(t->jws);
        json_decref(t->claims);
        free(t->payload);
        return mfree(t);
}

static json_t *load_object(const char *text, size_t size) {
        _cleanup_json_ json_t *j = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

        return json_is_object(j) ? TAKE_PTR(j) : NULL;
}

static bool type_is_right(const json_t *header) {
        static const char *const types[] = { "JWT", "at+jwt", "application/jwt", "application/at+jwt" };
        const json_t *typ = json_object_get(header, "typ");
        bool right = !typ;

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                right = right || (json_is_string(typ) && strcasecmp(json_string_value(typ), types[i]) == 0);
        return right;
}

static int check_header(Token *t, const char **ret_why) {
        const json_t *kid = json_object_get(t->header, "kid");

        t->algorithm = jws_algorithm_from_string(json_string_value(json_object_get(t->header, "alg")));
        if ((int) t->algorithm < 0)
                return refuse(ret_why, "The token is not signed by RS256, PS256 or ES256.");
        /* b64 has another text signed than the one that we read; without crit it would be ignored by others. */
        if (json_object_get(t->header, "crit") || json_object_get(t->header, "b64"))
                return refuse(ret_why, "The token has a critical header, and none is known here.");
        if (!type_is_right(t->header))
                return refuse(ret_why, "The token's type is not JWT.");
        if (kid && !json_is_string(kid))
                return refuse(ret_why, "The token's key id is not a text.");
        return 0;
}

/* Three texts with dots between them. */
static bool split(const char *text, size_t size, const char *parts[PARTS], size_t sizes[PARTS]) {
        const char *end = text + size;

        for (unsigned i = 0; i < PARTS; i++) {
                const char *dot = memchr(text, '.', (size_t) (end - text)) ?: end;

                parts[i] = text;
                sizes[i] = (size_t) (dot - text);
                if (sizes[i] == 0 || (i + 1 < PARTS) != (dot < end))
                        return false;
                text = dot + 1;
        }
        return true;
}

int token_parse(const char *text, size_t size, Token **ret, const char **ret_why) {
        _cleanup_(token_freep) Token *t = NULL;
        _cleanup_free_ char *header = NULL;
        const char *parts[PARTS];
        size_t sizes[PARTS], n;
        int r;

        if (size > TOKEN_SIZE_MAX)
                return refuse(ret_why, "The token is larger than 8 KiB.");
        t = new0(Token, 1);
        if (!t)
                return -ENOMEM;
        r = split(text, size, parts, sizes) ? 0 : -EBADMSG;
        if (r >= 0 && base64url_size(parts[2], sizes[2]) < 0)
                r = -EBADMSG;
        if (r >= 0)
                r = base64url_decode(parts[0], sizes[0], &header, &n);
        if (r >= 0)
                r = base64url_decode(parts[1], sizes[1], &t->payload, &t->payload_size);
        if (r == -ENOMEM)
                return r;
        t->header = r < 0 ? NULL : load_object(header, n);
        if (!t->header)
                return refuse(ret_why, "The token is not a signed JWT in compact form.");
        r = check_header(t, ret_why);
        if (r < 0)
                return r;
        t->jws = json_pack("{s:s%, s:s%, s:s%}", "protected", parts[0], sizes[0], "payload", parts[1], sizes[1], "signature",
                           parts[2], sizes[2]);
        if (!t->jws)
                return -ENOMEM;
        *ret = TAKE_PTR(t);
        return 0;
}

JwsAlgorithm token_algorithm(const Token *t) {
        return t->algorithm;
}

const char *token_kid(const Token *t) {
        return json_string_value(json_object_get(t->header, "kid"));
}

int token_verify(const Token *t, const json_t *key, const char **ret_why) {
        int r;

        r = jose_verify(t->jws, key);
        return r == 0 ? refuse(ret_why, "The token's signature is wrong.") : MIN2(r, 0);
}

/* 1, 0: it is not there; -EBADMSG. */
static int get_time(const json_t *claims, const char *name, int64_t *ret) {
        const json_t *j = json_object_get(claims, name);
        double d;

        if (!j)
                return 0;
        d = json_number_value(j);
        if (!json_is_number(j) || !(d >= 0 && d <= TIME_MAX))
                return -EBADMSG;
        *ret = (int64_t) d;
        return 1;
}

static int check_times(const json_t *claims, int64_t now, int64_t *ret_until, const char **ret_why) {
        int64_t expires = 0, begins = 0, issued = 0;
        int r;

        r = get_time(claims, "exp", &expires);
        if (r == 0)
                return refuse(ret_why, "The token has no end (exp).");
        if (r >= 0)
                r = get_time(claims, "nbf", &begins);
        if (r >= 0)
                r = get_time(claims, "iat", &issued);
        if (r < 0)
                return refuse(ret_why, "The token has a time that is none.");
        if (expires + TOKEN_LEEWAY_SEC <= now)
                return refuse(ret_why, "The token has expired.");
        if (begins - TOKEN_LEEWAY_SEC > now || issued - TOKEN_LEEWAY_SEC > now)
                return refuse(ret_why, "The token is not valid yet.");
        *ret_until = expires + TOKEN_LEEWAY_SEC;
        return 0;
}

/* Text, or one of an array of texts. */
static bool names(const json_t *claim, const char *text) {
        const json_t *j;
        bool found = json_is_string(claim) && streq(json_string_value(claim), text);
        size_t i;

        json_array_foreach(claim, i, j)
                found = found || (json_is_string(j) && streq(json_string_value(j), text));
        return found;
}

/* Scopes are words of one text (RFC 8693 §4.2), roles a text or an array of them. */
static bool has_word(const json_t *claim, const char *word) {
        const char *s = json_string_value(claim);
        const size_t n = strlen(word);

        if (names(claim, word))
                return true;
        while (s && *s) {
                size_t k = strcspn(s, " ");

                if (k == n && memcmp(s, word, n) == 0)
                        return true;
                s += k + strspn(s + k, " ");
        }
        return false;
}

static bool is_user_id(const char *s) {
        size_t n = strlen(s);

        return n > 0 && n <= USER_ID_MAX &&
               strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-") == n;
}

int token_check(Token *t, const RpcConfig *config, int64_t now, TokenClaims *ret, const char **ret_why) {
        TokenClaims c = {};
        json_t *claims;
        int r;

        json_decref(t->claims);
        claims = t->claims = load_object(t->payload, t->payload_size);
        if (!claims)
                return refuse(ret_why, "The token's content is not a JSON object.");
        if (!config->issuer || !config->audience)
                return refuse(ret_why, "No token is valid: the configuration names no issuer or audience.");
        if (!streq(strempty(json_string_value(json_object_get(claims, "iss"))), config->issuer))
                return refuse(ret_why, "The token is of another issuer.");
        if (!names(json_object_get(claims, "aud"), config->audience))
                return refuse(ret_why, "The token is for another audience.");
        r = check_times(claims, now, &c.until, ret_why);
        if (r < 0)
                return r;
        c.subject = json_string_value(json_object_get(claims, "sub"));
        if (!c.subject || !is_user_id(c.subject))
                return refuse(ret_why, "The token's subject (sub) is not a user id.");
        c.admin = config->admin_claim && config->admin_value &&
                  has_word(json_object_get(claims, config->admin_claim), config->admin_value);
        *ret = c;
        return 0;
}
