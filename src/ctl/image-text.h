/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How images are written for people. */

#include "basic/macro.h"

/* The first twelve digits of "sha256:HEX", enough for a person and for every verb that takes a digest; anything else
 * as it is, cut. Returns buf. */
#define SHORT_DIGEST_MAX 13
char *shorten_digest(char buf[static SHORT_DIGEST_MAX], const char *digest);

/* Words as one would type them to a shell: those that need it in single quotes. NULL: out of memory. */
char *quote_words(char *const *words);

/* At least six hexadecimal digits, with or without "sha256:" before them: may be the beginning of a digest. */
bool is_digest_beginning(const char *s);
