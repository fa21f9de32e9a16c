/* SPDX-License-Identifier: Apache-2.0 */

#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"

#define SETTLE_TIMEOUT (120 * USEC_PER_SEC)
#define RUN_TIMEOUT (120 * USEC_PER_SEC)

void report(const char *name, uint64_t usec) {
        printf("%s %llu\n", name, (unsigned long long) usec);
        fflush(stdout);
}

int complain(int error, const char *format, ...) {
        va_list ap;

        fprintf(stderr, "hero-bench: ");
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fprintf(stderr, "%s%s\n", error < 0 ? ": " : "", error < 0 ? strerror(-error) : "");
        return error < 0 ? error : -EIO;
}

static void item_end(Item *i) {
        Client *c = i->client;

        for (unsigned k = 0; k < c->n_active; k++)
                if (c->active[k] == i)
                        c->active[k] = c->active[--c->n_active];
        sd_bus_slot_unref(i->slot);
        free(i);
}

static void client_fail(Client *c, int error) {
        if (c->error >= 0)
                c->error = error;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *path = NULL;
        Item *i = userdata;

        i->slot = sd_bus_slot_unref(i->slot);
        if (e) {
                client_fail(i->client, complain(0, "%s: %s", i->name, e->message));
                return 0;
        }
        while (sd_bus_message_read(m, "o", &path) > 0)
                ;
        if (!path || strlen(path) >= sizeof(i->job)) {
                client_fail(i->client, complain(0, "%s: the answer names no job", i->name));
                return 0;
        }
        strcpy(i->job, path);
        return 0;
}

int item_ask(Item *i, sd_bus_message *m) {
        int r;

        r = sd_bus_call_async(i->client->bus, &i->slot, m, on_reply, i, RUN_TIMEOUT);
        sd_bus_message_unref(m);
        return r < 0 ? r : 0;
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *path, *unit, *result, *text = "";
        Client *c = userdata;
        uint32_t id;
        int r;

        r = sd_bus_message_read(m, "uoss", &id, &path, &unit, &result);
        if (r < 0)
                return 0;
        (void) sd_bus_message_read(m, "s", &text); /* ours says why */
        for (unsigned k = 0; k < c->n_active; k++) {
                Item *i = c->active[k];

                if (!streq(i->job, path))
                        continue;
                if (!streq(result, "done")) {
                        client_fail(c, complain(0, "%s: %s %s", i->name, result, text));
                        return 0;
                }
                i->job[0] = 0;
                i->step++;
                r = i->kind->next(i);
                if (r < 0)
                        client_fail(c, complain(r, "%s", i->name));
                if (r > 0)
                        item_end(i);
                return 0;
        }
        return 0;
}

int client_new(Client **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        c = new0(Client, 1);
        if (!c)
                return -ENOMEM;
        r = sd_event_default(&c->event);
        if (r >= 0)
                r = sd_bus_open_system(&c->bus);
        if (r >= 0)
                r = sd_bus_attach_event(c->bus, c->event, 0);
        if (r >= 0)
                r = sd_bus_match_signal(c->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                        "JobRemoved", on_job_removed, c);
        if (r >= 0)
                r = sd_bus_match_signal(c->bus, NULL, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE,
                                        "JobRemoved", on_job_removed, c);
        if (r < 0)
                return complain(r, "cannot connect to the system bus");
        *ret = TAKE_PTR(c);
        return 0;
}

Client *client_free(Client *c) {
        if (!c)
                return NULL;
        (void) scopes_clear(c);
        while (c->n_active > 0)
                item_end(c->active[0]);
        free(c->children);
        sd_bus_flush_close_unref(c->bus);
        sd_event_unref(c->event);
        return mfree(c);
}

static Item *item_new(Client *c, const Kind *kind) {
        Item *i;

        i = new0(Item, 1);
        if (!i)
                return NULL;
        i->client = c;
        i->kind = kind;
        i->began = now_usec(CLOCK_MONOTONIC);
        c->active[c->n_active++] = i;
        return i;
}

static int begin(Client *c, const Kind *kind, unsigned number, bool alone) {
        Item *i;

        i = item_new(c, kind);
        if (!i)
                return -ENOMEM;
        i->number = number;
        i->alone = alone;
        snprintf(i->name, sizeof(i->name), "bench-%u", number);
        return kind->begin(i);
}

/* The times are taken where an item leaves the table: between two turns of the loop, at most one signal later. */
int client_run(Client *c, const Kind *kind, const char *name, unsigned first, unsigned count, unsigned width,
               uint64_t *ret_usec) {
        uint64_t start = now_usec(CLOCK_MONOTONIC);
        unsigned begun = 0;
        int r;

        assert(width <= WIDTH_MAX);
        while (begun < count || c->n_active > 0) {
                unsigned before;
                uint64_t began;

                while (begun < count && c->n_active < width) {
                        r = begin(c, kind, first + begun++, name && width == 1);
                        if (r < 0)
                                return complain(r, "%s", kind->name);
                }
                before = c->n_active;
                began = c->active[0]->began;
                r = sd_event_run(c->event, RUN_TIMEOUT);
                if (r < 0 || c->error < 0)
                        return r < 0 ? r : c->error;
                if (r == 0)
                        return complain(-ETIME, "%s: nothing happens", kind->name);
                if (name && width == 1 && c->n_active < before)
                        report(name, now_usec(CLOCK_MONOTONIC) - began);
        }
        if (ret_usec)
                *ret_usec = now_usec(CLOCK_MONOTONIC) - start;
        return 0;
}

static int finished(Item *i) {
        return 1;
}

int client_ask(Client *c, const char *what, sd_bus_message *m, uint64_t *ret_usec) {
        const Kind kind = { what, NULL, finished };
        uint64_t start;
        Item *i;
        int r;

        i = item_new(c, &kind);
        if (!i)
                return -ENOMEM;
        snprintf(i->name, sizeof(i->name), "%s", what);
        /* From before it is sent: who sends may have to wait for a processor, while it is being answered. */
        start = i->began;
        r = item_ask(i, m);
        if (r < 0)
                return complain(r, "%s", what);
        r = client_run(c, &kind, NULL, 0, 0, 1, NULL);
        if (ret_usec)
                *ret_usec = now_usec(CLOCK_MONOTONIC) - start;
        return r;
}

static int count_units(Client *c, const char *pattern, unsigned *ret) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        const char *unit;
        int r;

        *ret = 0;
        r = sd_bus_message_new_method_call(c->bus, &m, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                           "ListUnitsByPatterns");
        if (r >= 0)
                r = sd_bus_message_append(m, "asas", 0, 1, pattern);
        if (r >= 0)
                r = sd_bus_call(c->bus, m, UINT64_MAX, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'r', "ssssssouso")) > 0) {
                (*ret)++;
                r = sd_bus_message_read(reply, "s", &unit);
                if (r >= 0)
                        r = sd_bus_message_skip(reply, "sssssouso");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return r;
}

static int count_jobs(Client *c, uint32_t *ret) {
        return sd_bus_get_property_trivial(c->bus, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE, "NJobs",
                                           NULL, 'u', ret);
}

int client_settle(Client *c, const char *pattern) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + SETTLE_TIMEOUT;

        for (;;) {
                unsigned n;
                uint32_t jobs;
                int r;

                r = count_units(c, pattern, &n);
                if (r >= 0)
                        r = count_jobs(c, &jobs);
                if (r < 0)
                        return complain(r, "cannot list %s", pattern);
                if (n == 0 && jobs == 0)
                        break;
                if (now_usec(CLOCK_MONOTONIC) > until)
                        return complain(-ETIME, "%u of %s do not go away", n, pattern);
                (void) usleep(20000);
        }
        (void) usleep(50000); /* their cgroups, the journal */
        return 0;
}
