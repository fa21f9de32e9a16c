/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where keys may be fetched from: https, or http that does not leave this host. Anybody on the way could give us keys of his own
 * otherwise. libc only: who fetches checks it again. */

#include "basic/macro.h"

#define JWKS_URL_MAX 2048u

bool jwks_url_is_valid(const char *url);
