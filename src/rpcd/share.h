/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the processes of one user id hold of what all connections share, so that nobody keeps the others out. There is one Share for
 * each user id that has a connection. Owned by connections.c. */

#include <sys/types.h>

#include <uthash.h>

#include "basic/macro.h"

typedef struct Shares Shares;

typedef struct Share {
        Shares *shares;
        uid_t uid;
        unsigned n;     /* connections, each of which is a reference */
        unsigned n_cut; /* of them, that were cut off and whose owner has not noticed yet */
        uint64_t memory, answers;
        UT_hash_handle hh;
} Share;

int shares_new(Shares **ret);
Shares *shares_free(Shares *s); /* nobody has one by now */

/* root may have it all, others half of it each. */
static inline bool share_allows(const Share *s, uint64_t held, uint64_t more, uint64_t max) {
        uint64_t half = max - max / 2;

        return s->uid == 0 || (held <= half && more <= half - held);
}

/* For one more connection. NULL: no memory. */
Share *share_get(Shares *s, uid_t uid);
Share *share_put(Share *s);
