/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between hero-rpcd, which has no network and which the other daemons trust, and hero-jwks-fetch, which has nothing else.
 *
 * One connection to JWKS_SOCKET (SOCK_STREAM) for one fetch; PID 1 starts a hero-jwks-fetch for each, with the connection as its
 * standard input and output. hero-rpcd asks in one line:
 *
 *   MILLISECONDS URL    how long it may take, and where keys may come from (jwks-url.h)
 *
 * and is answered until the end of the stream with one of
 *
 *   keys                and in the following line a set of keys (RFC 7517)
 *   error WORDS         why there are none
 *
 * hero-jwks-fetch reads what strangers send: hero-rpcd believes nothing of what it says. An answer that is cut off is none, as a
 * JSON text without its end is none. */

#include "rpcd/jwk-set.h"
#include "rpcd/jwks-url.h"

#define JWKS_SOCKET RUNDIR "/jwks-fetch"
#define JWKS_KEYS "keys\n"
#define JWKS_ERROR "error "
#define JWKS_QUESTION_MAX (16u + JWKS_URL_MAX)
#define JWKS_ERROR_MAX 512u /* the line; what is more of it is not read */
#define JWKS_ANSWER_MAX (64u + JWK_SET_SIZE_MAX)
