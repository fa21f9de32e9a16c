/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/polkit.h"

#include <stdio.h>
#include <sys/queue.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/login-name.h"
#include "shared/peer-watch.h"

/* dbus-daemon allows 128 unanswered calls per connection; keep some for everybody else. A person may think about a
 * password for minutes, so those who wait for one leave room for others, and for finding out who the next caller is
 * (which may be root, who waits for nobody). Calls of a caller who is being looked up just wait for that. */
#define QUERIES_MAX 2048u
#define LOOKUPS_MAX 24u
#define QUESTIONS_MAX 40u
#define QUESTIONS_PER_USER_MAX 24u
#define INTERACTIVE_PER_USER_MAX 12u
/* Right after the bus, which has the higher priority and so dispatches the call first; not IDLE, for a busy loop is
 * never idle. */
#define QUERY_FREE_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 1)
#define SENDERS_MAX 128u
#define SENDER_NAME_MAX 32u
#define LOGIN_WAITERS_MAX 64u
/* polkitd gives each of its rules' two runs 15 s, and that of Debian 12 (122) loses the wake-up after one of some hundred on
 * a busy machine: it then waits for all of that time ("Terminating runaway script"). It answers all the same. */
#define ANSWER_TIMEOUT (45 * USEC_PER_SEC)

typedef struct Sender {
        char name[SENDER_NAME_MAX]; /* ":1.123456"; the bus never gives one out twice */
        uid_t uid;
} Sender;

typedef enum Waits {
        WAITS_FOR_NOBODY,
        WAITS_FOR_SENDER,
        WAITS_FOR_LOGIN,
} Waits;

typedef struct Query Query;
struct Query {
        Polkit *polkit;
        TAILQ_ENTRY(Query) queries;
        sd_bus_message *request, *reply;
        sd_bus_slot *slot;
        sd_event_source *defer;
        PeerWatch *watch;  /* the caller: nothing is done for who has left */
        char *fingerprint; /* what was asked of polkit; NULL before */
        uid_t uid;         /* who waits for polkit or for a login name; else UID_INVALID */
        int error;
        uint64_t begun;
        bool asked, interactive;
        bool looks_up_login; /* getent runs, and others may wait for it, too */
        Waits waits; /* for the lookup that another query does */
};

struct Polkit {
        sd_bus *bus;
        TAILQ_HEAD(, Query) queries;
        unsigned n_queries;
        Sender senders[SENDERS_MAX];
        unsigned next_sender;
        uid_t trusted;
        LoginNames *logins;
};

static Query *query_free(Query *q) {
        if (!q)
                return NULL;
        TAILQ_REMOVE(&q->polkit->queries, q, queries);
        q->polkit->n_queries--;
        sd_bus_slot_unref(q->slot);
        peer_watch_free(q->watch);
        sd_bus_message_unref(q->request);
        sd_bus_message_unref(q->reply);
        sd_event_source_disable_unref(q->defer);
        free(q->fingerprint);
        return mfree(q);
}

static void on_login(uid_t uid, void *userdata);

int polkit_new(sd_bus *bus, Polkit **ret) {
        Polkit *p;
        int r;

        p = new0(Polkit, 1);
        if (!p)
                return -ENOMEM;
        TAILQ_INIT(&p->queries);
        r = login_names_new(sd_bus_get_event(bus), on_login, p, &p->logins);
        if (r < 0) {
                free(p);
                return r;
        }
        p->bus = sd_bus_ref(bus);
        p->trusted = UID_INVALID;
        *ret = p;
        return 0;
}

Polkit *polkit_free(Polkit *p) {
        if (!p)
                return NULL;
        while (!TAILQ_EMPTY(&p->queries))
                query_free(TAILQ_FIRST(&p->queries));
        login_names_free(p->logins);
        sd_bus_unref(p->bus);
        return mfree(p);
}

void polkit_trust(Polkit *p, uid_t uid) {
        p->trusted = uid;
}

bool polkit_is_idle(const Polkit *p) {
        return p->n_queries == 0;
}

static const Sender *sender_find(Polkit *p, const char *name) {
        for (unsigned i = 0; i < SENDERS_MAX; i++)
                if (streq(p->senders[i].name, name))
                        return p->senders + i;
        return NULL;
}

static Query *query_find(Polkit *p, sd_bus_message *call) {
        Query *q;

        TAILQ_FOREACH(q, &p->queries, queries)
                if (q->request == call)
                        return q;
        return NULL;
}

/* Before somebody has to be waited for: how many do so already? */
static int query_admit(Polkit *p, const Query *query, uid_t uid, bool interactive, sd_bus_error *error) {
        unsigned n = 0, n_user = 0, n_interactive = 0;
        const Query *q;

        TAILQ_FOREACH(q, &p->queries, queries)
                if (q != query && !q->waits && q->uid != UID_INVALID && !q->reply) {
                        n++;
                        n_user += q->uid == uid;
                        n_interactive += q->uid == uid && q->interactive;
                }
        if (n >= QUESTIONS_MAX || n_user >= QUESTIONS_PER_USER_MAX ||
            (interactive && n_interactive >= INTERACTIVE_PER_USER_MAX))
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                         "%u calls are waiting for authorisation already, %u of them of the same user; try "
                                         "again later.",
                                         n, n_user);
        return 0;
}

static int query_new(Polkit *p, sd_bus_message *call, Query **ret, sd_bus_error *error) {
        Query *q;

        if (p->n_queries >= QUERIES_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                         "%u calls are waiting for authorisation already, try again later.", QUERIES_MAX);
        q = new0(Query, 1);
        if (!q)
                return -ENOMEM;
        q->polkit = p;
        q->uid = UID_INVALID;
        q->begun = now_usec(CLOCK_MONOTONIC);
        q->request = sd_bus_message_ref(call);
        TAILQ_INSERT_TAIL(&p->queries, q, queries);
        p->n_queries++;
        *ret = q;
        return 0;
}

static int on_idle(sd_event_source *s, void *userdata) {
        query_free(userdata);
        return 0;
}

/* Has the call dispatched once more. The query stays until the loop is idle, so that the handler finds it; should
 * the handler not ask again, it goes all the same. */
static void query_dispatch_again(Query *q) {
        int r;

        if (!q->defer) {
                r = sd_event_add_defer(sd_bus_get_event(q->polkit->bus), &q->defer, on_idle, q);
                if (r >= 0)
                        r = sd_event_source_set_priority(q->defer, QUERY_FREE_PRIORITY);
        } else
                r = sd_event_source_set_enabled(q->defer, SD_EVENT_ONESHOT);
        if (r >= 0)
                r = sd_bus_message_rewind(q->request, true);
        if (r >= 0)
                r = sd_bus_enqueue_for_read(q->polkit->bus, q->request);
        if (r < 0) {
                bus_reply_error(q->request, r, NULL);
                query_free(q);
        }
}

/* The query waits for another answer: it must not be freed by the idle source of the previous one. */
static void query_hold(Query *q) {
        if (q->defer)
                (void) sd_event_source_set_enabled(q->defer, SD_EVENT_OFF);
}

/* A lookup is over: for the query that did it and for those that waited for the same, in the order of the calls. */
static void queries_wake(Query *done, Waits waits, int error) {
        Polkit *p = done->polkit;
        const uid_t uid = done->uid;
        char sender[SENDER_NAME_MAX];
        Query *q, *next;

        (void) snprintf(sender, sizeof(sender), "%s", sd_bus_message_get_sender(done->request));
        for (q = TAILQ_FIRST(&p->queries); q; q = next) {
                next = TAILQ_NEXT(q, queries);
                if (q != done && (q->waits != waits ||
                                  (waits == WAITS_FOR_SENDER ? !streq(sd_bus_message_get_sender(q->request), sender) : q->uid != uid)))
                        continue;
                q->waits = WAITS_FOR_NOBODY;
                q->error = error;
                if (!q->asked)
                        q->uid = UID_INVALID;
                query_dispatch_again(q); /* may free it */
        }
}

static int read_credentials(sd_bus_message *m, uid_t *ret) {
        uint32_t uid = UID_INVALID;
        int r;

        if (sd_bus_message_is_method_error(m, NULL))
                return -EACCES; /* the sender left the bus, or worse: nobody to trust */
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key;

                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0 && streq(key, "UnixUserID"))
                        r = sd_bus_message_read(m, "v", "u", &uid);
                else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r < 0)
                return r;
        if (uid > INT32_MAX) /* or not there at all */
                return -EACCES;
        *ret = uid;
        return 0;
}

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Query *q = userdata;
        Polkit *p = q->polkit;
        const char *name = sd_bus_message_get_sender(q->request);
        uid_t uid;
        int r;

        q->slot = sd_bus_slot_unref(q->slot);
        r = read_credentials(m, &uid);
        if (r >= 0 && strlen(name) >= SENDER_NAME_MAX)
                r = -ENAMETOOLONG;
        if (r >= 0) {
                Sender *s = p->senders + p->next_sender++ % SENDERS_MAX;

                strcpy(s->name, name);
                s->uid = uid;
        }
        queries_wake(q, WAITS_FOR_SENDER, r);
        return 0;
}

/* Somebody asks the bus about this sender already: 1; nobody, and one may: 0; or too many others are asked about. */
static int lookup_under_way(Polkit *p, const char *name, sd_bus_error *error) {
        unsigned n = 0;
        const Query *q;

        TAILQ_FOREACH(q, &p->queries, queries)
                if (q->slot && !q->asked) {
                        if (streq(sd_bus_message_get_sender(q->request), name))
                                return 1;
                        n++;
                }
        if (n >= LOOKUPS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u callers are being looked up already, try again later.", n);
        return 0;
}

/* 1: the uid is known; 0: asked; < 0. */
static int need_uid(Polkit *p, sd_bus_message *call, Query **query, uid_t *ret, sd_bus_error *error) {
        const char *name = sd_bus_message_get_sender(call);
        const Sender *s;
        int r, under_way;

        if (*query && (*query)->error < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Cannot tell who is calling: %s.",
                                         strerror(-(*query)->error));
        if (!name)
                return -EACCES;
        s = sender_find(p, name);
        if (s) {
                *ret = s->uid;
                return 1;
        }
        r = under_way = lookup_under_way(p, name, error);
        if (r >= 0 && !*query)
                r = query_new(p, call, query, error);
        if (r < 0)
                return r;
        query_hold(*query);
        if (under_way) {
                (*query)->waits = WAITS_FOR_SENDER;
                return 0;
        }
        r = bus_call_async(p->bus, &(*query)->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", "GetConnectionCredentials", on_credentials, *query, "s", name);
        if (r < 0) {
                *query = query_free(*query);
                return r;
        }
        return 0;
}

static void on_login(uid_t uid, void *userdata) {
        Polkit *p = userdata;
        Query *q;

        TAILQ_FOREACH(q, &p->queries, queries)
                if (q->looks_up_login && q->uid == uid)
                        break;
        if (!q)
                return;
        q->looks_up_login = false;
        queries_wake(q, WAITS_FOR_LOGIN, 0);
}

/* As lookup_under_way(). */
static int getent_under_way(Polkit *p, uid_t uid, sd_bus_error *error) {
        bool under_way = false;
        unsigned n = 0;
        const Query *q;

        TAILQ_FOREACH(q, &p->queries, queries)
                if (q->uid == uid) {
                        under_way = under_way || q->looks_up_login;
                        n += q->waits == WAITS_FOR_LOGIN;
                }
        if (n >= LOGIN_WAITERS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u calls wait for the name of user %u already, try again later.",
                                         n, uid);
        return under_way;
}

static int need_login(Polkit *p, sd_bus_message *call, uid_t uid, Query **query, const char **ret, sd_bus_error *error) {
        const Login *l;
        int r, under_way;

        l = login_names_find(p->logins, uid);
        if (l) {
                *ret = l->name;
                return 1;
        }
        r = under_way = getent_under_way(p, uid, error);
        if (r == 0)
                r = query_admit(p, *query, uid, false, error);
        if (r >= 0 && !*query)
                r = query_new(p, call, query, error);
        if (r < 0)
                return r;
        query_hold(*query);
        (*query)->uid = uid;
        if (under_way) {
                (*query)->waits = WAITS_FOR_LOGIN;
                return 0;
        }
        r = login_names_look_up(p->logins, uid);
        if (r < 0) {
                *query = query_free(*query);
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Cannot look up the name of user %u: %s.", uid,
                                         strerror(-r));
        }
        (*query)->looks_up_login = true;
        return 0;
}

static void on_caller_gone(void *userdata) {
        query_free(userdata);
}

static int on_polkit_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Query *q = userdata;

        q->slot = sd_bus_slot_unref(q->slot);
        q->reply = sd_bus_message_ref(m);
        query_dispatch_again(q);
        return 0;
}

static int ask_polkit(Query *q, const char *action, const PolkitQuestion *k) {
        const char *const details[] = { "vm", k->vm, "user", k->user, "verb", k->verb };
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = peer_watch_new(q->polkit->bus, sd_bus_message_get_sender(q->request), on_caller_gone, q, &q->watch);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(q->polkit->bus, &m, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                          sd_bus_message_get_sender(q->request), action);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(details); i += 2)
                if (!isempty(details[i + 1]))
                        r = sd_bus_message_append(m, "{ss}", details[i], details[i + 1]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", (uint32_t) q->interactive, "");
        if (r < 0)
                return r;
        /* A person may take as long as it takes to find the password. */
        r = sd_bus_call_async(q->polkit->bus, &q->slot, m, on_polkit_reply, q, q->interactive ? UINT64_MAX : ANSWER_TIMEOUT);
        if (r >= 0)
                query_hold(q);
        return r;
}

static int read_polkit_reply(Query *q, const char *action, sd_bus_error *error) {
        const sd_bus_error *e;
        int r, yes, challenge;

        e = sd_bus_message_get_error(q->reply);
        if (e)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "Permission denied: polkit did not answer (%s). Is polkitd installed and running?",
                                         strna(e->message ?: e->name));
        r = sd_bus_message_rewind(q->reply, true);
        if (r >= 0)
                r = sd_bus_message_enter_container(q->reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(q->reply, "bb", &yes, &challenge);
        if (r < 0)
                return r;
        if (yes)
                return 1;
        if (challenge)
                return sd_bus_error_set(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                        "Interactive authentication required.");
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Permission denied (polkit action %s).", action);
}

int polkit_check(Polkit *p, sd_bus_message *call, const PolkitQuestion *k, sd_bus_error *error) {
        _cleanup_free_ char *fingerprint = NULL;
        Query *q = query_find(p, call);
        const char *login = NULL, *action;
        bool interactive;
        uid_t uid;
        int r;

        r = need_uid(p, call, &q, &uid, error);
        if (r <= 0)
                return r;
        if (uid == 0 || uid == p->trusted)
                return 1;
        if (k->own_action && !isempty(k->owner)) {
                r = need_login(p, call, uid, &q, &login, error);
                if (r <= 0)
                        return r;
        }
        action = login && streq(login, k->owner) ? k->own_action : k->action;
        fingerprint = strprintf("%s\n%s\n%s\n%s", action, strempty(k->vm), strempty(k->user), strempty(k->verb));
        if (!fingerprint)
                return -ENOMEM;
        if (q && q->asked) {
                if (!streq(q->fingerprint, fingerprint))
                        return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED,
                                                "What was to be authorised changed meanwhile, try again.");
                return read_polkit_reply(q, action, error);
        }
        interactive = sd_bus_message_get_allow_interactive_authorization(call) > 0;
        r = query_admit(p, q, uid, interactive, error);
        if (r < 0)
                return r;
        if (!q) {
                r = query_new(p, call, &q, error);
                if (r < 0)
                        return r;
        }
        q->uid = uid;
        q->fingerprint = TAKE_PTR(fingerprint);
        q->asked = true;
        q->interactive = interactive;
        r = ask_polkit(q, action, k);
        if (r < 0)
                query_free(q);
        return r < 0 ? r : 0;
}

int polkit_get_sender_uid(Polkit *p, sd_bus_message *call, uid_t *ret, sd_bus_error *error) {
        Query *q = query_find(p, call);

        return need_uid(p, call, &q, ret, error);
}

uid_t polkit_sender_uid(Polkit *p, sd_bus_message *call) {
        const char *name = sd_bus_message_get_sender(call);
        const Sender *s = name ? sender_find(p, name) : NULL;

        return s ? s->uid : UID_INVALID;
}

const char *polkit_login(Polkit *p, uid_t uid) {
        const Login *l;

        if (uid == 0)
                return "root";
        l = login_names_find(p->logins, uid);
        return l ? l->name : NULL;
}

uint64_t polkit_call_begun(Polkit *p, sd_bus_message *call) {
        const Query *q = query_find(p, call);

        return q ? q->begun : now_usec(CLOCK_MONOTONIC);
}
