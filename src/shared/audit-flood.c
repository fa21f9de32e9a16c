/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/audit-flood.h"

#include <string.h>

#include "basic/string-util.h"
#include "basic/time-util.h"

/* A flood of more callers at a time is a flood still, told one by one. */
#define CALLERS_MAX 64u
#define STEP (USEC_PER_SEC / AUDIT_FLOOD_PER_SEC)

typedef struct Caller {
        uid_t uid;
        char subject[64];
        uint64_t full;   /* when it could be told AUDIT_FLOOD_BURST times in a row again */
        uint64_t missed;
} Caller;

static Caller callers[CALLERS_MAX];
static unsigned n_callers;

/* The place of a new one is that of who has been quiet for the longest. */
static Caller *find(uid_t uid, const char *subject) {
        Caller *quiet = callers;

        for (Caller *c = callers; c < callers + n_callers; c++) {
                if (c->uid == uid && strncmp(c->subject, subject, sizeof(c->subject) - 1) == 0)
                        return c;
                if (c->full < quiet->full)
                        quiet = c;
        }
        if (n_callers < CALLERS_MAX)
                quiet = callers + n_callers++;
        *quiet = (Caller) { .uid = uid };
        memcpy(quiet->subject, subject, strnlen(subject, sizeof(quiet->subject) - 1));
        return quiet;
}

bool audit_flood_allows(uid_t uid, const char *subject, uint64_t now, uint64_t *ret_missed) {
        Caller *c;

        *ret_missed = 0;
        if (uid == 0)
                return true;
        c = find(uid, strempty(subject));
        if (c->full > now && c->full - now > (AUDIT_FLOOD_BURST - 1) * STEP) {
                *ret_missed = ++c->missed;
                return false;
        }
        c->full = MAX2(c->full, now) + STEP;
        *ret_missed = c->missed;
        c->missed = 0;
        return true;
}
