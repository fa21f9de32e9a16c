/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The built-in image: a small root file system around Debian's static busybox, so that the first VM needs no
 * download. Made by the worker. */

#include "basic/macro.h"
#include "imaged/image-tree.h"
#include "imaged/squashfs-writer.h"

/* Raise when what busybox_tree() makes changes: the image is then made anew. */
#define BUSYBOX_TREE_VERSION 1u

/* The names of busybox's links as `busybox --list-full` gives them ("bin/ls" per line), by running it.
 * Bounded. */
int busybox_list_applets(const char *busybox, char **ret);

/* fd: busybox itself. -ENOEXEC: it is not a static program. */
int busybox_tree(int fd, const char *applets, Tree *t, SquashfsWriter *w);
