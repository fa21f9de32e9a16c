/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys and tokens for tests, by libjose. Texts of JSON in, allocated texts out; what cannot be made fails the test. */

#include <jansson.h>

#include "basic/macro.h"

/* A private key: "RS256", "PS256", "ES256"; kid NULL: without one. */
json_t *make_key(const char *algorithm, const char *kid);
json_t *make_secret(const char *text, const char *kid); /* for HS256 */

json_t *public_key(const json_t *key);
char *key_set(const json_t *const keys[], size_t n); /* of the public ones */

/* {"alg": …} and whatever else, {"iss": …}; the key's own algorithm is not asked. */
char *make_token(const char *header, const char *payload, const json_t *key);
char *make_unsigned(const char *header, const char *payload, const char *signature);
char *base64url(const char *text);
