/* SPDX-License-Identifier: Apache-2.0 */

/* The floor of making a VM: a process in a scope of its own, with nothing but what a scope must have. */

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "bench.h"
#include "shared/bus-util.h"

#define SLICE "machine-hero.slice"

static int start_message(Client *c, const char *unit, pid_t pid, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                           "StartTransientUnit");
        if (r >= 0)
                r = sd_bus_message_append(m, "ssa(sv)a(sa(sv))", unit, "fail", 2, "Slice", "s", SLICE, "PIDs", "au", 1,
                                          (uint32_t) pid, 0);
        if (r >= 0)
                *ret = TAKE_PTR(m);
        return r;
}

static int scope_begin(Item *i) {
        Client *c = i->client;
        sd_bus_message *m;
        char unit[64];
        pid_t pid;
        int r;

        if (!GREEDY_REALLOC(c->children, c->allocated_children, c->n_children + 1))
                return -ENOMEM;
        pid = fork();
        if (pid < 0)
                return negative_errno();
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        (void) pause();
        }
        c->children[c->n_children++] = pid;
        snprintf(unit, sizeof(unit), "hero-bare-%u.scope", i->number);
        r = start_message(c, unit, pid, &m);
        return r < 0 ? r : item_ask(i, m);
}

static int scope_next(Item *i) {
        return 1;
}

const Kind scope_create = { "a bare scope", scope_begin, scope_next };

int scopes_clear(Client *c) {
        if (c->n_children == 0)
                return 0;
        for (size_t k = 0; k < c->n_children; k++)
                (void) kill(c->children[k], SIGKILL);
        for (size_t k = 0; k < c->n_children; k++)
                (void) waitpid(c->children[k], NULL, 0);
        c->n_children = 0;
        return client_settle(c, "hero-bare-*.scope");
}

int scope_of_process(Client *c, const char *unit, pid_t pid) {
        sd_bus_message *m;
        int r;

        r = start_message(c, unit, pid, &m);
        return r < 0 ? r : client_ask(c, unit, m, NULL);
}

int unit_call(Client *c, const char *member, const char *unit) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(c->bus, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE, member, &e, NULL,
                               "s", unit);
        return r < 0 ? complain(r, "%s(%s): %s", member, unit, e.message) : 0;
}
