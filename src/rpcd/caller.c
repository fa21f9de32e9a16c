/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/caller.h"

#include "basic/alloc-util.h"

Caller *caller_ref(Caller *c) {
        if (c)
                c->n_ref++;
        return c;
}

Caller *caller_unref(Caller *c) {
        if (!c || --c->n_ref > 0)
                return NULL;
        free(c->user);
        free(c->subject);
        return mfree(c);
}

static int copy(char **ret, const char *s) {
        *ret = s ? strdup(s) : NULL;
        return s && !*ret ? -ENOMEM : 0;
}

Caller *caller_new(uid_t uid, const char *user, const char *subject, bool admin) {
        _cleanup_(caller_unrefp) Caller *c = new0(Caller, 1);

        if (!c)
                return NULL;
        c->n_ref = 1;
        c->uid = uid;
        c->admin = admin;
        return copy(&c->user, user) < 0 || copy(&c->subject, subject) < 0 ? NULL : TAKE_PTR(c);
}
