/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One bearer token: a JWT (RFC 7519), signed, in compact form (RFC 7515). First it is taken apart, which says what key it wants; then
 * its signature is checked with that key; only then what it says is looked at. Every refusal is -EACCES with a constant
 * sentence that says nothing of what a token without a right signature holds. Pure. */

#include "rpcd/jwk-set.h"
#include "rpcd/rpc-config.h"

#define TOKEN_SIZE_MAX 8192u
#define TOKEN_LEEWAY_SEC 60 /* clocks differ */

typedef struct Token Token;

int token_parse(const char *text, size_t size, Token **ret, const char **ret_why);
Token *token_free(Token *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Token *, token_free);

JwsAlgorithm token_algorithm(const Token *t) _pure_;
const char *token_kid(const Token *t) _pure_; /* NULL: it names no key */

/* key: of jwk_set_find(). 0, -EACCES, or -ELIBBAD, -ENOMEM: it cannot be checked. */
int token_verify(const Token *t, const json_t *key, const char **ret_why);

typedef struct TokenClaims {
        const char *subject; /* the token's; a user id */
        bool admin;
        int64_t until;       /* seconds of CLOCK_REALTIME, leeway included */
} TokenClaims;

/* Of a token that was verified. now: seconds of CLOCK_REALTIME. What it tells is the token's. */
int token_check(Token *t, const RpcConfig *config, int64_t now, TokenClaims *ret, const char **ret_why);
