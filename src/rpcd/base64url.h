/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Base64url as JOSE wants it (RFC 7515 §2), strictly: no padding, no white space, and one text for each content, so that a
 * signed text cannot be written in another way. */

#include "basic/macro.h"

/* Bytes of the content of n characters. -EBADMSG: it is none. Looks at every character. */
ssize_t base64url_size(const char *text, size_t n);

/* The content, NUL-terminated, allocated. 0, -EBADMSG, -ENOMEM. */
int base64url_decode(const char *text, size_t n, char **ret, size_t *ret_size);
