/* SPDX-License-Identifier: Apache-2.0 */

/* Whiteouts, see the header. */

#include "imaged/whiteout.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define PREFIX ".wh."
#define OPAQUE ".wh..wh..opq"
#define META_PREFIX ".wh..wh." /* else AUFS's own; of no meaning to anybody else */

static int refuse(const char *path, const char *what, char **ret_why) {
        _cleanup_free_ char *quoted = name_quote(path);

        *ret_why = quoted ? strprintf("Entry %s %s.", quoted, what) : NULL;
        return *ret_why ? -EBADMSG : -ENOMEM;
}

/* The first component but the last one that is a whiteout, or NULL. */
static const char *leads_through(const char *path, const char *last) {
        for (const char *p = path; p < last; p += strcspn(p, "/") + 1)
                if (startswith(p, PREFIX))
                        return p;
        return NULL;
}

static int hide(Tree *t, const char *path, const char *last, const char *name, bool below, char **ret_why) {
        _cleanup_free_ char *hidden = strprintf("%.*s%s", (int) (last - path), path, name);
        int r;

        if (!hidden)
                return -ENOMEM;
        r = tree_hide(t, hidden, below, ret_why);
        return r < 0 ? r : 1;
}

int whiteout_apply(Tree *t, const char *path, char **ret_why) {
        _cleanup_free_ char *copy = NULL;
        const char *last, *name;
        size_t n = strlen(path);

        if (!strstr(path, PREFIX) || n >= TREE_PATH_MAX)
                return 0; /* the tree says so */
        while (n > 0 && path[n - 1] == '/')
                n--;
        copy = strndup(path, n);
        if (!copy)
                return -ENOMEM;
        last = strrchr(copy, '/');
        last = last ? last + 1 : copy;
        name = leads_through(copy, last);
        if (name)
                return startswith(name, META_PREFIX) ? 1 : refuse(path, "is below a whiteout", ret_why);
        name = startswith(last, PREFIX);
        if (!name)
                return 0;
        if (streq(last, OPAQUE))
                return hide(t, copy, last, "", true, ret_why);
        if (startswith(last, META_PREFIX))
                return 1;
        if (streq(name, "") || streq(name, ".") || streq(name, ".."))
                return refuse(path, "is a whiteout of nothing that could be there", ret_why);
        return hide(t, copy, last, name, false, ret_why);
}
