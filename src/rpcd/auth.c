/* SPDX-License-Identifier: Apache-2.0 */

/* Requests wait here for what is looked up beside the loop: whose uid it is, who the administrators are, and the keys for tokens. */

#include "rpcd/auth.h"

#include <strings.h>
#include <sys/queue.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/admin-group.h"
#include "rpcd/peer.h"
#include "rpcd/tokens.h"
#include "shared/log.h"
#include "shared/login-name.h"

/* What a uid is that has no name in this user namespace, and what daemons without rights are: "nobody", whose VM there is none. */
#define UID_NOBODY 65534u
/* Accounts of services: Debian Policy §9.2.2, which is the default of login.defs(5) and of systemd, too; and those that systemd makes
 * up for DynamicUser= (https://systemd.io/UIDS-GIDS/). */
#define UID_SYSTEM_MAX 999u
#define UID_DYNAMIC_MIN 61184u
#define UID_DYNAMIC_MAX 65519u

#define WHY_BUSY "The user database does not answer quickly enough, try again later."
#define WHY_MEMORY "Out of memory, try again later."
/* A connection has one request at a time, so those that wait for the user database are bounded by ConnectionsMax=. Each of these
 * holds a token, too. */
#define WAITING_FOR_KEYS_MAX 256u

#define WHY_KEYS_BUSY "Too many requests wait for the keys that tokens are checked with, try again later."
#define WHY_NO_LIBRARY "Tokens cannot be checked: a library for it (libjose, libgcrypt) is not there."
#define WHY_NOT_BEARER "The Authorization header holds no bearer token (Authorization: Bearer …)."
#define WHY_NO_TOKEN "A bearer token is needed (Authorization: Bearer …)."

typedef TAILQ_HEAD(QueryList, AuthQuery) QueryList;

struct AuthQuery {
        Auth *auth;
        Peer *peer;
        auth_done_t done;
        void *userdata;
        char *authorization; /* NULL: the peer itself is looked up */
        QueryList *list;     /* the one it is in */
        TAILQ_ENTRY(AuthQuery) queries, of_peer;
};

struct Auth {
        sd_event *event;
        const RpcConfig *config;
        LoginNames *logins;
        AdminGroup *group;
        Tokens *tokens; /* NULL: OAuth is not enabled */
        QueryList waiting;           /* for the user database */
        QueryList waiting_for_keys;
        unsigned n_waiting_for_keys;
        QueryList ready;             /* to be tried again */
};

struct Peer {
        Auth *auth;
        PeerCredentials credentials;
        Caller *caller; /* without a token; NULL: not looked up yet */
        uint64_t until; /* CLOCK_MONOTONIC: it has to be looked up again */
        QueryList queries;
};

static void query_enlist(AuthQuery *q, QueryList *list) {
        q->list = list;
        TAILQ_INSERT_TAIL(list, q, queries);
        q->auth->n_waiting_for_keys += list == &q->auth->waiting_for_keys;
}

static void query_delist(AuthQuery *q) {
        TAILQ_REMOVE(q->list, q, queries);
        q->auth->n_waiting_for_keys -= q->list == &q->auth->waiting_for_keys;
}

static void query_move(AuthQuery *q, QueryList *list) {
        query_delist(q);
        query_enlist(q, list);
}

static void query_free(AuthQuery *q) {
        query_delist(q);
        TAILQ_REMOVE(&q->peer->queries, q, of_peer);
        free(q->authorization);
        free(q);
}

static QueryList *waiting_list(Auth *a, bool for_keys) {
        return for_keys ? &a->waiting_for_keys : &a->waiting;
}

/* authorization NULL: not by a token. */
static int query_new(Peer *p, const char *authorization, auth_done_t done, void *userdata, AuthQuery **ret) {
        AuthQuery *q = new0(AuthQuery, 1);

        if (!q)
                return -ENOMEM;
        *q = (AuthQuery) { .auth = p->auth, .peer = p, .done = done, .userdata = userdata };
        if (authorization) {
                q->authorization = strdup(authorization);
                if (!q->authorization) {
                        free(q);
                        return -ENOMEM;
                }
        }
        query_enlist(q, waiting_list(p->auth, authorization));
        TAILQ_INSERT_TAIL(&p->queries, q, of_peer);
        *ret = q;
        return 0;
}

/* Only a peer's uid is known over TCP; the user database says which groups are its. */
static bool peer_is_admin(const Peer *p, const Login *l) {
        const AdminGroup *g = p->auth->group;

        return p->credentials.has_groups ? peer_credentials_have_group(&p->credentials, admin_group_gid(g)) :
                                           admin_group_has_login(g, l);
}

static bool uid_may_have_vm(const Peer *p, uid_t uid) {
        return p->auth->config->system_users || (uid > UID_SYSTEM_MAX && (uid < UID_DYNAMIC_MIN || uid > UID_DYNAMIC_MAX));
}

static int peer_set_caller(Peer *p, const char *user, bool admin, uint64_t until) {
        Caller *c = caller_new(p->credentials.uid, user, NULL, admin);

        if (!c)
                return -ENOMEM;
        caller_unref(p->caller);
        p->caller = c;
        p->until = until;
        return 1;
}

/* 1: p->caller is who it is; 0: that is being looked up; -errno. */
static int peer_look_up(Peer *p) {
        const uid_t uid = p->credentials.uid;
        LoginNames *logins = p->auth->logins;
        const Login *l;
        bool admin;
        int r;

        if (uid == UID_INVALID || uid == UID_NOBODY)
                return peer_set_caller(p, NULL, false, USEC_INFINITY);
        if (uid == 0)
                return peer_set_caller(p, "root", true, USEC_INFINITY);
        r = admin_group_need(p->auth->group);
        if (r < 0)
                return r;
        l = login_names_find(logins, uid);
        if (!l)
                r = login_names_look_up(logins, uid);
        if (r < 0)
                return r;
        if (!l || r == 0)
                return 0;
        admin = peer_is_admin(p, l);
        return peer_set_caller(p, admin || uid_may_have_vm(p, uid) ? l->name : NULL, admin,
                               MIN2(l->until, admin_group_until(p->auth->group)));
}

static uint64_t now(const Auth *a) {
        uint64_t t;

        return sd_event_now(a->event, CLOCK_MONOTONIC, &t) < 0 ? now_usec(CLOCK_MONOTONIC) : t;
}

/* As auth_identify(), but the caller is p's. */
static int peer_identify(Peer *p, const char **ret_why) {
        int r;

        if (p->caller && p->until > now(p->auth))
                return 1;
        r = peer_look_up(p);
        if (r >= 0)
                return r;
        *ret_why = r == -ENOMEM ? WHY_MEMORY : WHY_BUSY;
        return -EBUSY;
}

/* "Bearer TOKEN" (RFC 6750 §2.1); NULL: it is none. */
static const char *bearer_token(const char *authorization) {
        static const char scheme[] = "Bearer ";

        return strncasecmp(authorization, scheme, sizeof(scheme) - 1) == 0 ? authorization + sizeof(scheme) - 1 : NULL;
}

static int token_identify(Peer *p, const char *authorization, Caller **ret, const char **ret_why) {
        const char *token = bearer_token(authorization);
        int r;

        if (!token) {
                *ret_why = WHY_NOT_BEARER;
                return -EACCES;
        }
        r = tokens_identify(p->auth->tokens, token, strlen(token), p->credentials.uid, ret, ret_why);
        if (r >= 0 || r == -EACCES)
                return r;
        *ret_why = r == -ENOMEM ? WHY_MEMORY : WHY_NO_LIBRARY;
        return -EBUSY;
}

/* A token decides where there is one. 1: *ret is referenced; 0: being looked up; -EACCES, -EBUSY. */
static int identify(Peer *p, const char *authorization, Caller **ret, const char **ret_why) {
        int r;

        if (authorization)
                return token_identify(p, authorization, ret, ret_why);
        r = peer_identify(p, ret_why);
        if (r > 0)
                *ret = caller_ref(p->caller);
        return r;
}

/* done() may do whatever it likes, also with other queries: they are where query_free() finds them. */
static void queries_try_again(Auth *a) {
        AuthQuery *q;

        while ((q = TAILQ_FIRST(&a->ready))) {
                _cleanup_(caller_unrefp) Caller *caller = NULL;
                auth_done_t done = q->done;
                void *userdata = q->userdata;
                const char *why = NULL;
                int r = identify(q->peer, q->authorization, &caller, &why);

                if (r == 0) {
                        query_move(q, waiting_list(a, q->authorization));
                        continue;
                }
                query_free(q);
                done(MIN2(r, 0), why, caller, userdata);
        }
}

static void on_login(uid_t uid, void *userdata) {
        Auth *a = userdata;
        AuthQuery *q, *next;

        for (q = TAILQ_FIRST(&a->waiting); q; q = next) {
                next = TAILQ_NEXT(q, queries);
                if (q->peer->credentials.uid == uid)
                        query_move(q, &a->ready);
        }
        queries_try_again(a);
}

static void try_all(Auth *a, QueryList *list) {
        AuthQuery *q;

        while ((q = TAILQ_FIRST(list)))
                query_move(q, &a->ready);
        queries_try_again(a);
}

static void on_group(void *userdata) {
        Auth *a = userdata;

        try_all(a, &a->waiting);
}

static void on_keys(void *userdata) {
        Auth *a = userdata;

        try_all(a, &a->waiting_for_keys);
}

int auth_new(sd_event *event, const RpcConfig *config, Auth **ret) {
        _cleanup_(auth_freep) Auth *a = new0(Auth, 1);
        int r;

        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->config = config;
        TAILQ_INIT(&a->waiting);
        TAILQ_INIT(&a->waiting_for_keys);
        TAILQ_INIT(&a->ready);
        r = login_names_new(event, on_login, a, &a->logins);
        if (r >= 0)
                r = admin_group_new(event, config->admin_group, on_group, a, &a->group);
        if (config->oauth_enable && !config->oauth_require)
                log_notice("Tokens are enabled and not required: a request without one is of whoever connected, and one that hero_proxy "
                           "passes on is hero_proxy's (OAUTH_REQUIRE_AUTH, Require= in rpc.conf).");
        if (r >= 0 && (config->oauth_enable || config->oauth_require))
                r = tokens_new(event, config, &(JwksOptions) {}, on_keys, a, &a->tokens);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

Auth *auth_free(Auth *a) {
        AuthQuery *q;

        if (!a)
                return NULL;
        while ((q = TAILQ_FIRST(&a->waiting)) || (q = TAILQ_FIRST(&a->waiting_for_keys)) || (q = TAILQ_FIRST(&a->ready)))
                query_free(q);
        tokens_free(a->tokens);
        login_names_free(a->logins);
        admin_group_free(a->group);
        sd_event_unref(a->event);
        return mfree(a);
}

int peer_new(Auth *a, int fd, Peer **ret) {
        Peer *p = new0(Peer, 1);
        int r;

        if (!p)
                return -ENOMEM;
        p->auth = a;
        TAILQ_INIT(&p->queries);
        r = peer_credentials_get(fd, &p->credentials);
        if (r < 0) {
                free(p);
                return r;
        }
        *ret = p;
        return 0;
}

Peer *peer_free(Peer *p) {
        if (!p)
                return NULL;
        while (!TAILQ_EMPTY(&p->queries))
                query_free(TAILQ_FIRST(&p->queries));
        caller_unref(p->caller);
        peer_credentials_done(&p->credentials);
        return mfree(p);
}

uid_t peer_uid(const Peer *p) {
        return p->credentials.uid;
}

bool peer_is_administrator(const Peer *p) {
        return p->caller && p->caller->admin;
}

int auth_identify(Auth *a, Peer *p, const char *authorization, auth_done_t done, void *userdata, AuthQuery **ret_query,
                  Caller **ret_caller, const char **ret_why) {
        int r;

        if (!a->tokens)
                authorization = NULL;
        else if (!authorization && a->config->oauth_require) {
                *ret_why = WHY_NO_TOKEN;
                return -EACCES;
        }
        r = identify(p, authorization, ret_caller, ret_why);
        if (r != 0)
                return r;
        if (authorization && a->n_waiting_for_keys >= WAITING_FOR_KEYS_MAX)
                *ret_why = WHY_KEYS_BUSY;
        else if (query_new(p, authorization, done, userdata, ret_query) < 0)
                *ret_why = WHY_MEMORY;
        else
                return 0;
        return -EBUSY;
}

void auth_query_cancel(AuthQuery *q) {
        if (q)
                query_free(q);
}
