/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* libjose, loaded with the first token: with libcrypto, which it brings, it would be half of what hero-rpcd holds, and most never
 * see a token. */

#include <jansson.h>

#include "basic/macro.h"

/* True: the signature of {"protected", "payload", "signature"} is of that key, and by the algorithm that the protected header
 * names. -ELIBBAD: the library is not there; -ENOMEM. */
int jose_verify(const json_t *jws, const json_t *jwk);
