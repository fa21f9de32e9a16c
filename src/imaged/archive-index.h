/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is where in the tar of an OCI layout or of "docker save", which then is read in place. Runs in the
 * worker, on hostile input. */

#include "basic/macro.h"

typedef int (*archive_entry_t)(uint64_t offset, uint64_t size, const char *name, void *userdata);

/* fd: a regular file with an uncompressed tar. Calls back for each regular file in it, and for links to one
 * ("docker save" has them), with a name that worker_name_is_valid(); stops when that fails. -EBADMSG with a
 * sentence in *ret_why: not usable; -EDQUOT: too many. */
int archive_index(int fd, archive_entry_t entry, void *userdata, uint32_t *ret_n, char **ret_why);
