/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/admin-group.h"

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/child.h"

#define GETENT_TIMEOUT (10 * USEC_PER_SEC)
#define LIFETIME (60 * USEC_PER_SEC)
#define RETRY (2 * USEC_PER_SEC) /* the user database did not answer */
#define GETENT_NOT_FOUND 2

struct AdminGroup {
        sd_event *event;
        char *name;
        void (*known)(void *userdata);
        void *userdata;
        Child *getent;
        gid_t gid;
        char *members; /* "alice,bob" */
        uint64_t until;
};

int admin_group_new(sd_event *event, const char *name, void (*known)(void *userdata), void *userdata, AdminGroup **ret) {
        _cleanup_(admin_group_freep) AdminGroup *g = new0(AdminGroup, 1);

        if (!g)
                return -ENOMEM;
        g->event = sd_event_ref(event);
        g->known = known;
        g->userdata = userdata;
        g->gid = GID_INVALID;
        g->until = name ? 0 : USEC_INFINITY;
        if (free_and_strdup(&g->name, name) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(g);
        return 0;
}

AdminGroup *admin_group_free(AdminGroup *g) {
        if (!g)
                return NULL;
        child_free(g->getent);
        sd_event_unref(g->event);
        free(g->name);
        free(g->members);
        return mfree(g);
}

int admin_group_parse(const char *line, gid_t *ret_gid, char **ret_members) {
        _cleanup_free_ char *number = NULL;
        const char *p = strchr(line, ':');
        unsigned gid;

        p = p ? strchr(p + 1, ':') : NULL;
        if (!p)
                return -EBADMSG;
        p++;
        number = strndup(p, strcspn(p, ":\n"));
        if (!number)
                return -ENOMEM;
        p += strlen(number);
        if (*p != ':' || parse_uint(number, INT32_MAX, &gid) < 0)
                return -EBADMSG;
        *ret_members = strndup(p + 1, strcspn(p + 1, ":\n"));
        if (!*ret_members)
                return -ENOMEM;
        *ret_gid = gid;
        return 0;
}

static void on_getent(int status, const char *output, void *userdata) {
        AdminGroup *g = userdata;

        g->getent = NULL;
        g->gid = GID_INVALID;
        g->members = mfree(g->members);
        g->until = now_usec(CLOCK_MONOTONIC) + (status == 0 || status == GETENT_NOT_FOUND ? LIFETIME : RETRY);
        if (status == 0)
                (void) admin_group_parse(output, &g->gid, &g->members); /* otherwise it is nobody's */
        g->known(g->userdata);
}

int admin_group_need(AdminGroup *g) {
        char *argv[] = { (char *) "/usr/bin/getent", (char *) "group", g->name, NULL };
        int r;

        if (g->until > now_usec(CLOCK_MONOTONIC))
                return 1;
        if (g->getent)
                return 0;
        r = child_run(g->event, argv, -EBADF, GETENT_TIMEOUT, on_getent, g, &g->getent);
        return r < 0 ? r : 0;
}

uint64_t admin_group_until(const AdminGroup *g) {
        return g->until;
}

gid_t admin_group_gid(const AdminGroup *g) {
        return g->gid;
}

bool admin_group_has_login(const AdminGroup *g, const Login *l) {
        size_t n;

        if (g->gid == GID_INVALID || !l->name)
                return false;
        if (l->gid == g->gid)
                return true;
        n = strlen(l->name);
        for (const char *p = g->members; p && *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
                if (strcspn(p, ",") == n && memcmp(p, l->name, n) == 0)
                        return true;
        }
        return false;
}
