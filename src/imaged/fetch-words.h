/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What went wrong, out of what skopeo wrote. Pure. */

#include "imaged/fetch-protocol.h"

/* log: all it wrote to standard error (with --debug). copying: the image is there, only parts of it can be missing. has_auth: it was
 * given credentials. Writes a clean sentence into buf. */
FetchError fetch_words(const char *log, const char *location, bool copying, bool has_auth, char buf[static FETCH_SENTENCE_MAX]);

/* The registry has asked for patience (429), and skopeo was having some. */
bool fetch_words_are_patience(const char *log);
