/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/login-name.h"

#include <stdio.h>
#include <sys/queue.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/child.h"

#define GETENT "/usr/bin/getent"
#define GETENT_TIMEOUT (10 * USEC_PER_SEC)
#define LIFETIME (60 * USEC_PER_SEC)
#define LOGINS_MAX 256u
#define LOOKUPS_MAX 64u

typedef struct Lookup {
        LoginNames *names;
        uid_t uid;
        Child *getent;
        TAILQ_ENTRY(Lookup) lookups;
} Lookup;

struct LoginNames {
        sd_event *event;
        login_known_t known;
        void *userdata;
        Login logins[LOGINS_MAX];
        unsigned next;
        TAILQ_HEAD(, Lookup) lookups;
        unsigned n_lookups;
};

static Lookup *lookup_free(Lookup *k) {
        TAILQ_REMOVE(&k->names->lookups, k, lookups);
        k->names->n_lookups--;
        child_free(k->getent);
        return mfree(k);
}

int login_names_new(sd_event *event, login_known_t known, void *userdata, LoginNames **ret) {
        LoginNames *l = new0(LoginNames, 1);

        if (!l)
                return -ENOMEM;
        l->event = sd_event_ref(event);
        l->known = known;
        l->userdata = userdata;
        TAILQ_INIT(&l->lookups);
        *ret = l;
        return 0;
}

LoginNames *login_names_free(LoginNames *l) {
        if (!l)
                return NULL;
        while (!TAILQ_EMPTY(&l->lookups))
                lookup_free(TAILQ_FIRST(&l->lookups));
        for (unsigned i = 0; i < LOGINS_MAX; i++)
                free(l->logins[i].name);
        sd_event_unref(l->event);
        return mfree(l);
}

const Login *login_names_find(const LoginNames *l, uid_t uid) {
        for (unsigned i = 0; i < LOGINS_MAX; i++)
                if (l->logins[i].uid == uid && l->logins[i].until > now_usec(CLOCK_MONOTONIC))
                        return l->logins + i;
        return NULL;
}

static const Lookup *lookup_find(const LoginNames *l, uid_t uid) {
        const Lookup *k;

        TAILQ_FOREACH(k, &l->lookups, lookups)
                if (k->uid == uid)
                        return k;
        return NULL;
}

bool login_names_is_under_way(const LoginNames *l, uid_t uid) {
        return lookup_find(l, uid);
}

int login_name_parse(const char *line, char **ret_name, gid_t *ret_gid) {
        _cleanup_free_ char *number = NULL;
        size_t n = strcspn(line, ":\n");
        const char *p = line;
        unsigned gid;

        *ret_name = NULL;
        *ret_gid = GID_INVALID;
        if (n == 0 || line[n] != ':')
                return 0;
        for (unsigned i = 0; i < 3 && p; i++) {
                p = strpbrk(p, ":\n");
                p = p && *p == ':' ? p + 1 : NULL;
        }
        if (p) {
                number = strndup(p, strcspn(p, ":\n"));
                if (!number)
                        return -ENOMEM;
                if (parse_uint(number, INT32_MAX, &gid) >= 0)
                        *ret_gid = gid;
        }
        *ret_name = strndup(line, n);
        return *ret_name ? 0 : -ENOMEM;
}

/* No such user: status 2, no name. */
static void on_getent(int status, const char *output, void *userdata) {
        Lookup *k = userdata;
        LoginNames *names = k->names;
        Login *l = names->logins + names->next++ % LOGINS_MAX;
        const uid_t uid = k->uid;

        k->getent = NULL;
        lookup_free(k);
        free(l->name);
        *l = (Login) { .uid = uid, .gid = GID_INVALID, .until = now_usec(CLOCK_MONOTONIC) + LIFETIME };
        if (status == 0)
                (void) login_name_parse(output, &l->name, &l->gid); /* without memory: nobody */
        names->known(uid, names->userdata);
}

int login_names_look_up(LoginNames *l, uid_t uid) {
        char number[16], *argv[] = { (char *) GETENT, (char *) "passwd", number, NULL };
        Lookup *k;
        int r;

        if (lookup_find(l, uid))
                return 0;
        if (l->n_lookups >= LOOKUPS_MAX)
                return -EBUSY;
        k = new0(Lookup, 1);
        if (!k)
                return -ENOMEM;
        k->names = l;
        k->uid = uid;
        TAILQ_INSERT_TAIL(&l->lookups, k, lookups);
        l->n_lookups++;
        (void) snprintf(number, sizeof(number), "%u", uid);
        r = child_run(l->event, argv, -EBADF, GETENT_TIMEOUT, on_getent, k, &k->getent);
        if (r < 0)
                lookup_free(k);
        return r;
}
