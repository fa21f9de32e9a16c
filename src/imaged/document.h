/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* JSON documents in files that somebody else gave us: read once, so that they do not change under our eyes. */

#include "basic/macro.h"
#include "imaged/oci-manifest.h"

/* size bytes (UINT64_MAX: the whole file) from offset on, with a NUL behind them. -E2BIG: more than OCI_JSON_MAX; -EBADMSG: no
 * regular file, or it ends before. */
int document_read(int fd, uint64_t offset, uint64_t size, char **ret, size_t *ret_size);

int document_digest(const char *p, size_t n, char digest[static DIGEST_LENGTH + 1]);
