/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/audit-calls.h"

#include <pwd.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/audit.h"
#include "shared/error-names.h"

#define PROXY_USER "hero-rpcd"

/* That wait for jobs. One job may be asked for again and again while it is under way. */
#define CALLS_MAX 4096u

struct AuditCall {
        Audit *audit;
        TAILQ_ENTRY(AuditCall) calls;
        sd_bus_message *message; /* NULL: it is a job's */
        bool waits;
        uint64_t begun;
        uid_t uid;
        char *action, *login, *vm, *user, *image;
};

struct Audit {
        Polkit *polkit;
        uid_t proxy;
        struct AuditCalls calls;
        unsigned n_given;
};

/* It is made by systemd-sysusers, so it is in the file; NSS might have to be waited for. */
static uid_t find_proxy(void) {
        const struct passwd *p;
        uid_t uid = UID_INVALID;
        FILE *f;

        f = fopen("/etc/passwd", "re");
        if (!f)
                return UID_INVALID;
        while ((p = fgetpwent(f)))
                if (streq(p->pw_name, PROXY_USER)) {
                        uid = p->pw_uid;
                        break;
                }
        fclose(f);
        return uid == 0 ? UID_INVALID : uid; /* what root does is told */
}

void audit_refresh(Audit *a) {
        a->proxy = find_proxy();
        polkit_trust(a->polkit, a->proxy);
}

int audit_new(Polkit *polkit, Audit **ret) {
        Audit *a;

        a = new0(Audit, 1);
        if (!a)
                return -ENOMEM;
        a->polkit = polkit;
        TAILQ_INIT(&a->calls);
        audit_refresh(a);
        *ret = a;
        return 0;
}

static AuditCall *call_free(AuditCall *c) {
        if (!c)
                return NULL;
        sd_bus_message_unref(c->message);
        free(c->action);
        free(c->login);
        free(c->vm);
        free(c->user);
        free(c->image);
        return mfree(c);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(AuditCall *, call_free);

static void call_log(const AuditCall *c, const char *error, const char *text) {
        audit_log(&(AuditEntry) {
                .road = "bus",
                .uid = c->uid,
                .subject = c->login,
                .action = c->action,
                .vm = c->vm,
                .user = c->user,
                .image = c->image,
                .error = error,
                .text = text,
                .duration = now_usec(CLOCK_MONOTONIC) - c->begun,
        });
}

Audit *audit_free(Audit *a) {
        AuditCall *c;

        if (!a)
                return NULL;
        while ((c = TAILQ_FIRST(&a->calls))) {
                TAILQ_REMOVE(&a->calls, c, calls);
                call_log(c, SD_BUS_ERROR_NO_REPLY, "The service ended before the call did.");
                call_free(c);
        }
        return mfree(a);
}

static AuditCall *find(const Audit *a, const sd_bus_message *call) {
        AuditCall *c;

        TAILQ_FOREACH(c, &a->calls, calls)
                if (c->message == call)
                        return c;
        return NULL;
}

static int copy(char **ret, const char *s) {
        return isempty(s) ? 0 : free_and_strdup(ret, s);
}

static int call_new(Audit *a, sd_bus_message *message, const AuditWhat *w, AuditCall **ret) {
        _cleanup_(call_freep) AuditCall *c = NULL;

        c = new0(AuditCall, 1);
        if (!c)
                return -ENOMEM;
        c->audit = a;
        c->message = sd_bus_message_ref(message);
        c->uid = polkit_sender_uid(a->polkit, message);
        c->begun = polkit_call_begun(a->polkit, message);
        c->action = strprintf("%s.%s", w->interface, w->member);
        if (!c->action || copy(&c->login, polkit_login(a->polkit, c->uid)) < 0 || copy(&c->vm, w->vm) < 0 ||
            copy(&c->user, w->user) < 0 || copy(&c->image, w->image) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(c);
        return 0;
}

static bool is_proxy(const Audit *a, uid_t uid) {
        return uid != UID_INVALID && uid == a->proxy;
}

static const char *error_name(int r, const sd_bus_error *e) {
        return sd_bus_error_is_set(e) ? e->name : error_name_from_errno(r);
}

static const char *error_text(int r, const sd_bus_error *e) {
        return sd_bus_error_is_set(e) && e->message ? e->message : strerror(-r);
}

int audit_authorised(Audit *a, sd_bus_message *call, const AuditWhat *what, int r, const sd_bus_error *error) {
        AuditCall *c;

        if (r == 0 || is_proxy(a, polkit_sender_uid(a->polkit, call)))
                return r;
        if (call_new(a, call, what, &c) < 0)
                return -ENOMEM; /* nothing is done that nobody would hear of */
        if (r > 0) {
                TAILQ_INSERT_TAIL(&a->calls, c, calls);
                return r;
        }
        call_log(c, error_name(r, error), error_text(r, error));
        call_free(c);
        return r;
}

int audit_answered(Audit *a, sd_bus_message *call, int r, const sd_bus_error *error) {
        AuditCall *c = find(a, call);

        if (!c || c->waits)
                return r;
        TAILQ_REMOVE(&a->calls, c, calls);
        if (r < 0)
                call_log(c, error_name(r, error), error_text(r, error));
        else
                call_log(c, NULL, NULL);
        call_free(c);
        return r;
}

void audit_wait(Audit *a, sd_bus_message *call) {
        AuditCall *c = find(a, call);

        if (c)
                c->waits = true;
}

void audit_go_on(Audit *a, sd_bus_message *call) {
        AuditCall *c = find(a, call);

        if (c)
                c->waits = false;
}

void audit_drop(Audit *a, sd_bus_message *call) {
        AuditCall *c = find(a, call);

        if (!c)
                return;
        TAILQ_REMOVE(&a->calls, c, calls);
        call_free(c);
}

void audit_give(Audit *a, sd_bus_message *call, const char *vm, struct AuditCalls *calls) {
        AuditCall *c = find(a, call);

        if (!c)
                return;
        (void) copy(&c->vm, vm);
        TAILQ_REMOVE(&a->calls, c, calls);
        if (a->n_given >= CALLS_MAX) {
                call_log(c, "Begun", "Too many wait for jobs to tell how it ends.");
                call_free(c);
                return;
        }
        c->message = sd_bus_message_unref(c->message);
        TAILQ_INSERT_TAIL(calls, c, calls);
        a->n_given++;
}

void audit_end(struct AuditCalls *calls, const char *error, const char *text) {
        AuditCall *c;

        while ((c = TAILQ_FIRST(calls))) {
                TAILQ_REMOVE(calls, c, calls);
                c->audit->n_given--;
                call_log(c, error, text);
                call_free(c);
        }
}
