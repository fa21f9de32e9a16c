/* SPDX-License-Identifier: Apache-2.0 */

/* Memory that ends together, see the header. */

#include "imaged/arena.h"

#define CHUNK_SIZE (256u * 1024u - 64u)

struct ArenaChunk {
        ArenaChunk *next;
        uint64_t data[];
};

static ArenaChunk *chunk_new(size_t size) {
        return calloc(1, sizeof(ArenaChunk) + size);
}

void *arena_alloc(Arena *a, size_t size) {
        ArenaChunk *c;
        void *p;

        if (size > SIZE_MAX / 2)
                return NULL;
        size = (size + 7) / 8 * 8;
        if (size > CHUNK_SIZE / 8) {
                /* One of its own, behind the one that is being filled. */
                c = chunk_new(size);
                if (!c)
                        return NULL;
                if (a->chunks) {
                        c->next = a->chunks->next;
                        a->chunks->next = c;
                } else {
                        a->chunks = c;
                        a->used = CHUNK_SIZE;
                }
                return c->data;
        }
        if (!a->chunks || a->used + size > CHUNK_SIZE) {
                c = chunk_new(CHUNK_SIZE);
                if (!c)
                        return NULL;
                c->next = a->chunks;
                a->chunks = c;
                a->used = 0;
        }
        p = (char *) a->chunks->data + a->used;
        a->used += size;
        return p;
}

void arena_done(Arena *a) {
        while (a->chunks) {
                ArenaChunk *c = a->chunks;

                a->chunks = c->next;
                free(c);
        }
        a->used = 0;
}
