/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a layer takes away of those below it: an entry DIR/.wh.NAME, or DIR/.wh..wh..opq for all that is in
 * DIR. */

#include "imaged/image-tree.h"

/* 1: the entry was a whiteout and has been heeded, whatever its type. 0: it is none. -EBADMSG with a
 * sentence. */
int whiteout_apply(Tree *t, const char *path, char **ret_why);
