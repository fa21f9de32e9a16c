/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/user.h"

#include <fcntl.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"

#define FILE_MAX ((size_t) 1024 * 1024)
#define LINE_MAX_SIZE 4096u
#define FIELDS_MAX 7u
#define ID_MAX (UINT32_MAX - 1) /* (uid_t) -1 means "no change" to the kernel */

void user_done(User *u) {
        free(u->name);
        free(u->home);
        free(u->shell);
        free(u->groups);
        *u = (User) {};
}

/* The next line of *p, split at ":" into fields (missing ones ""). Overlong lines are skipped as getpwent() of
 * small libcs does. Returns false at the end. */
static bool next_entry(const char **p, char line[static LINE_MAX_SIZE], char *fields[static FIELDS_MAX]) {
        while (*p && **p) {
                size_t n = strcspn(*p, "\n"), i = 0;
                const char *start = *p;
                char *q = line;

                *p += n + (start[n] == '\n');
                if (n == 0 || n >= LINE_MAX_SIZE || *start == '#')
                        continue;

                memcpy(line, start, n);
                line[n] = 0;
                while (i < FIELDS_MAX)
                        fields[i++] = strsep(&q, ":") ?: line + n;
                return true;
        }
        return false;
}

static bool parse_id(const char *s, unsigned *ret) {
        return s[0] >= '0' && s[0] <= '9' && parse_uint(s, ID_MAX, ret) >= 0;
}

/* Fills what a passwd entry gives; by name first, for a name may consist of digits. */
static int find_user(const char *passwd, const char *name, bool numeric, unsigned uid, User *u) {
        char line[LINE_MAX_SIZE], *f[FIELDS_MAX];
        const char *p = passwd;

        while (next_entry(&p, line, f)) {
                unsigned entry_uid, entry_gid;

                if (!parse_id(f[2], &entry_uid) || !parse_id(f[3], &entry_gid))
                        continue;
                if (numeric ? entry_uid != uid : !streq(f[0], name))
                        continue;

                u->uid = entry_uid;
                u->gid = entry_gid;
                if (free_and_strdup(&u->name, f[0]) < 0 || free_and_strdup(&u->home, f[5]) < 0 ||
                                free_and_strdup(&u->shell, f[6]) < 0)
                        return -ENOMEM;
                return 1;
        }
        return 0;
}

static int find_group(const char *group, const char *name, gid_t *ret) {
        char line[LINE_MAX_SIZE], *f[FIELDS_MAX];
        const char *p = group;
        unsigned gid;

        while (next_entry(&p, line, f))
                if (streq(f[0], name) && parse_id(f[2], &gid)) {
                        *ret = gid;
                        return 0;
                }

        if (!parse_id(name, &gid))
                return -ENOMSG;
        *ret = gid;
        return 0;
}

static bool list_contains(char *list, const char *name) {
        char *m;

        while ((m = strsep(&list, ",")))
                if (streq(m, name))
                        return true;
        return false;
}

/* The primary group and every one that names the user as a member. */
static int find_supplementary(const char *group, User *u) {
        char line[LINE_MAX_SIZE], *f[FIELDS_MAX];
        size_t allocated = 0;
        const char *p = group;

        if (!GREEDY_REALLOC(u->groups, allocated, 1))
                return -ENOMEM;
        u->groups[u->n_groups++] = u->gid;

        while (u->name && u->n_groups < USER_GROUPS_MAX && next_entry(&p, line, f)) {
                unsigned gid;

                if (!parse_id(f[2], &gid) || gid == u->gid || !list_contains(f[3], u->name))
                        continue;
                if (!GREEDY_REALLOC(u->groups, allocated, u->n_groups + 1))
                        return -ENOMEM;
                u->groups[u->n_groups++] = gid;
        }
        return 0;
}

static int resolve_user(const char *passwd, const char *name, User *u) {
        unsigned uid = 0;
        bool numeric;
        int r;

        r = find_user(passwd, name, false, 0, u);
        if (r != 0)
                return r;

        numeric = parse_id(name, &uid);
        if (!numeric && !streq(name, "root"))
                return -ESRCH;
        if (numeric)
                r = find_user(passwd, name, true, uid, u);
        if (r != 0)
                return r;

        /* root is there even where no file says so. */
        u->uid = uid;
        u->gid = 0;
        return free_and_strdup(&u->name, uid == 0 ? "root" : NULL);
}

static int complete_user(User *u) {
        int r;

        if (isempty(u->home)) {
                r = free_and_strdup(&u->home, "/");
                if (r < 0)
                        return r;
        }
        return isempty(u->shell) ? free_and_strdup(&u->shell, "/bin/sh") : 0;
}

int user_parse(const char *passwd, const char *group, const char *spec, User *ret) {
        _cleanup_(user_done) User u = {};
        _cleanup_free_ char *copy = NULL;
        char *wanted_group;
        int r;

        copy = strdup(isempty(spec) ? "root" : spec);
        if (!copy)
                return -ENOMEM;
        wanted_group = copy;
        (void) strsep(&wanted_group, ":");

        r = resolve_user(passwd, copy[0] ? copy : "root", &u);
        if (r < 0)
                return r;
        r = complete_user(&u);
        if (r < 0)
                return r;
        if (!isempty(wanted_group)) {
                r = find_group(group, wanted_group, &u.gid);
                if (r < 0)
                        return r;
                group = NULL;
        }
        r = find_supplementary(group, &u);
        if (r < 0)
                return r;

        *ret = u;
        u = (User) {};
        return 0;
}

int user_lookup(const char *spec, User *ret) {
        _cleanup_free_ char *passwd = NULL, *group = NULL;
        int r;

        r = read_full_file(AT_FDCWD, "/etc/passwd", FILE_MAX, &passwd, NULL);
        if (r < 0 && r != -ENOENT && r != -ENOTDIR)
                return r;
        r = read_full_file(AT_FDCWD, "/etc/group", FILE_MAX, &group, NULL);
        if (r < 0 && r != -ENOENT && r != -ENOTDIR)
                return r;
        return user_parse(passwd, group, spec, ret);
}
