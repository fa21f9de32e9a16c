/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The public keys that tokens are checked with (RFC 7517): of a set, those that are for signatures that we check. Everything else
 * in it is left out, symmetric keys first of all. Pure. */

#include <jansson.h>

#include "basic/macro.h"

#define JWK_SET_KEYS_MAX 64u
#define JWK_SET_SIZE_MAX (256u << 10)

typedef enum JwsAlgorithm {
        JWS_RS256,
        JWS_PS256,
        JWS_ES256,
        _JWS_ALGORITHM_MAX,
} JwsAlgorithm;

const char *jws_algorithm_to_string(JwsAlgorithm a);
JwsAlgorithm jws_algorithm_from_string(const char *s); /* -EINVAL: also for none and everything symmetric */

typedef struct JwkSet JwkSet;

/* Takes over what it can use of {"keys": […]}. -EBADMSG: not a set of keys; -ENOKEY: it has none that can be used; -E2BIG. */
int jwk_set_parse(const char *text, size_t size, JwkSet **ret);
JwkSet *jwk_set_free(JwkSet *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(JwkSet *, jwk_set_free);

bool jwk_set_equal(const JwkSet *a, const JwkSet *b);
size_t jwk_set_size(const JwkSet *s) _pure_;

/* The key of that id, when it is one for the algorithm; kid NULL: the only key for the algorithm. Borrowed. NULL: there is none, and
 * then *ret_known_kid says whether there is one of that id after all. */
const json_t *jwk_set_find(const JwkSet *s, JwsAlgorithm algorithm, const char *kid, bool *ret_known_kid);

/* The set again, with nothing in it but what is needed. Allocated. */
char *jwk_set_format(const JwkSet *s);
