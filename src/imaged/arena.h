/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Memory for very many small things that end together: without a header for each of them. */

#include "basic/macro.h"

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
        ArenaChunk *chunks;
        size_t used; /* of the first one */
} Arena;

/* Zeroed, for anything that needs to be aligned to 8 bytes. NULL on ENOMEM. */
void *arena_alloc(Arena *a, size_t size);
void arena_done(Arena *a);
