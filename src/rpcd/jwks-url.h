/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where keys may be fetched from: https, or http that does not leave this host. Anybody on the way could give us keys of his own
 * otherwise. libc only: the fetching child checks it again. */

#include "basic/macro.h"

bool jwks_url_is_valid(const char *url);
