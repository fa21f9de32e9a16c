/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A directory as a tar, written to a pipe as it is read: owners, modes, extended attributes, hard links, device
 * nodes and holes as they are; sockets are left out, other file systems mounted in it are not entered. Of an OCI image
 * layout (a directory with "oci-layout" and "index.json") only what belongs to it, these two first. Blocks: it is for
 * a process of its own. */

#include "basic/macro.h"

/* Ids are kept as numbers, the names of this host mean nothing elsewhere. -EPIPE: the reader had enough; for other
 * errors *ret_error is a sentence. */
int tar_stream_directory(int dir_fd, int out_fd, char **ret_error);
