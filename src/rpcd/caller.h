/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who asks: found once for each request from the peer's credentials or its bearer token (auth.h), and never changed afterwards. */

#include <sys/types.h>

#include "basic/macro.h"

#define UID_INVALID ((uid_t) -1)

typedef struct Caller {
        unsigned n_ref;
        uid_t uid;      /* of the peer, UID_INVALID when not known */
        char *user;     /* whose VM is the own one: login name, or subject of the token; NULL: nobody's */
        char *subject;  /* of the token; NULL: there was none */
        bool admin;     /* everything */
} Caller;

Caller *caller_ref(Caller *c);
Caller *caller_unref(Caller *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Caller *, caller_unref);

/* Takes nothing over. NULL: no memory. */
Caller *caller_new(uid_t uid, const char *user, const char *subject, bool admin);
