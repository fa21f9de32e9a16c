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
        uint64_t missed, told; /* told: when that was said the last time */
        bool flood;      /* since it was full the last time some were missed */
} Caller;

static Caller callers[CALLERS_MAX];
static unsigned n_callers;

bool audit_flood_is_nothing(const char *error) {
        static const char *const names[] = {
                "AccessDenied", "Exists",       "InteractiveAuthorizationRequired", "InvalidArgs",  "InvalidArgument",
                "InvalidParams", "LimitExceeded", "NoCapacity", "NoSuchImage", "NoSuchJob", "NoSuchUser", "NoSuchVM", "NotSupported",
                "PermissionDenied", "ServiceUnavailable", "UnknownObject", "WrongState",
        };
        const char *dot = strrchr(error, '.');

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(dot ? dot + 1 : error, names[i]))
                        return true;
        return false;
}

static Caller *find(uid_t uid, const char *subject) {
        for (Caller *c = callers; c < callers + n_callers; c++)
                if (c->uid == uid && strncmp(c->subject, subject, sizeof(c->subject) - 1) == 0)
                        return c;
        return NULL;
}

/* In the place of who has been quiet for the longest. */
static Caller *add(uid_t uid, const char *subject) {
        Caller *quiet = callers;

        if (n_callers < CALLERS_MAX)
                quiet = callers + n_callers++;
        else
                for (Caller *c = callers; c < callers + n_callers; c++)
                        if (c->full < quiet->full)
                                quiet = c;
        *quiet = (Caller) { .uid = uid };
        memcpy(quiet->subject, subject, strnlen(subject, sizeof(quiet->subject) - 1));
        return quiet;
}

/* And not who speaks through a proxy of root's. */
static bool is_root(uid_t uid, const char *subject) {
        return uid == 0 && (isempty(subject) || streq(subject, "root"));
}

bool audit_flood_allows(uid_t uid, const char *subject, uint64_t now, bool *ret_begins) {
        Caller *c;

        *ret_begins = false;
        if (is_root(uid, subject))
                return true;
        c = find(uid, strempty(subject)) ?: add(uid, strempty(subject));
        if (c->full <= now)
                c->flood = false;
        if (c->full > now && c->full - now > (AUDIT_FLOOD_BURST - 1) * STEP) {
                *ret_begins = !c->flood;
                c->flood = true;
                c->missed++;
                return false;
        }
        c->full = MAX2(c->full, now) + STEP;
        return true;
}

uint64_t audit_flood_missed(uid_t uid, const char *subject, uint64_t now) {
        Caller *c = find(uid, strempty(subject));
        uint64_t missed;

        if (!c || c->missed == 0 || (c->told > 0 && now - c->told < AUDIT_FLOOD_TELL))
                return 0;
        missed = c->missed;
        c->missed = 0;
        c->told = now;
        return missed;
}
