/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/environment.h"

#include "basic/string-util.h"
#include "basic/strv.h"

const char *environment_get(char *const *environment, const char *name) {
        size_t n = strlen(name);

        for (; environment && *environment; environment++)
                if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
                        return *environment + n + 1;
        return NULL;
}

static int set(char ***l, const char *entry) {
        size_t n = strcspn(entry, "=");

        if (n == 0 || entry[n] != '=')
                return 0;

        STRV_FOREACH(i, *l)
                if (strncmp(*i, entry, n + 1) == 0)
                        return free_and_strdup(i, entry);
        return strv_extend(l, entry);
}

static int set_default(char ***l, const char *name, const char *value) {
        if (!value || environment_get(*l, name))
                return 0;
        return strv_extendf(l, "%s=%s", name, value);
}

int environment_build(char *const *base, char *const *changes, const User *user, const char *term, char ***ret) {
        const char *const defaults[][2] = {
                { "PATH", DEFAULT_PATH }, { "HOME", user->home },   { "USER", user->name },
                { "LOGNAME", user->name }, { "SHELL", user->shell }, { "TERM", term },
        };
        _cleanup_strv_free_ char **l = NULL;
        int r;

        STRV_FOREACH(i, base) {
                r = set(&l, *i);
                if (r < 0)
                        return r;
        }
        STRV_FOREACH(i, changes) {
                r = set(&l, *i);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(defaults); i++) {
                r = set_default(&l, defaults[i][0], defaults[i][1]);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(l);
        return 0;
}
