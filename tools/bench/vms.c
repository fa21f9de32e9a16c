/* SPDX-License-Identifier: Apache-2.0 */

/* A user of org.hero.Compute, over the system bus as everybody. */

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "bench.h"
#include "shared/bus-util.h"

#define EXEC_TIMEOUT_MSEC 60000

static int vm_message(Client *c, const char *name, const char *member, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        char *path;
        int r;

        r = sd_bus_path_encode(COMPUTE_VM_PREFIX, name, &path);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(c->bus, &m, COMPUTE_BUS_NAME, path, COMPUTE_VM_INTERFACE, member);
        free(path);
        if (r >= 0 && (streq(member, "Delete") || streq(member, "Stop")))
                r = sd_bus_message_append(m, "t", UINT64_C(1));
        if (r >= 0)
                *ret = TAKE_PTR(m);
        return r;
}

static int create_begin(Item *i) {
        sd_bus_message *m;
        int r;

        r = sd_bus_message_new_method_call(i->client->bus, &m, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE,
                                           "CreateVM");
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{sv}", i->name, 5, "Hypervisor", "s", "mock", "Memory", "t", BENCH_MEMORY,
                                          "Disk", "t", BENCH_DISK, "Image", "s", i->client->image ?: "busybox",
                                          "Network", "b", !i->client->no_network);
        return r < 0 ? r : item_ask(i, m);
}

/* Created: start it. Started: done. */
static int create_next(Item *i) {
        sd_bus_message *m;
        int r;

        if (i->step == 2)
                return 1;
        if (i->alone)
                report("ours-create", now_usec(CLOCK_MONOTONIC) - i->began);
        r = vm_message(i->client, i->name, "Start", &m);
        return r < 0 ? r : item_ask(i, m);
}

static int delete_begin(Item *i) {
        sd_bus_message *m;
        int r;

        r = vm_message(i->client, i->name, "Delete", &m);
        return r < 0 ? r : item_ask(i, m);
}

static int finished(Item *i) {
        return 1;
}

const Kind vm_create_and_start = { "create and start", create_begin, create_next };
const Kind vm_delete = { "delete", delete_begin, finished };

int vm_call(Client *c, const char *name, const char *member, uint64_t *ret_usec) {
        sd_bus_message *m;
        int r;

        r = vm_message(c, name, member, &m);
        return r < 0 ? r : client_ask(c, member, m, ret_usec);
}

int vm_request(Client *c, const char *name, const char *member) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *m;
        int r;

        r = vm_message(c, name, member, &m);
        if (r < 0)
                return r;
        r = sd_bus_call(c->bus, m, 0, &e, NULL);
        sd_bus_message_unref(m);
        return r < 0 ? complain(r, "%s: %s", member, strna(e.message)) : 0;
}

int user_provision(Client *c, const char *user, const char *hypervisor, uint64_t memory, uint64_t *ret_usec) {
        sd_bus_message *m;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE,
                                           "ProvisionUser");
        if (r >= 0)
                r = memory == 0 ? sd_bus_message_append(m, "sa{sv}", user, 1, "Hypervisor", "s", hypervisor) :
                                  sd_bus_message_append(m, "sa{sv}", user, 2, "Hypervisor", "s", hypervisor, "Memory", "t", memory);
        return r < 0 ? r : client_ask(c, "ProvisionUser", m, ret_usec);
}

int user_deprovision(Client *c, const char *user) {
        /* Not DeprovisionUser(): that asks the guest to go down first. */
        return vm_call(c, user, "Delete", NULL);
}

/* What hero-computed asks of hero-imaged when it needs an image. */
int image_open(Client *c, const char *reference, uint64_t *ret_usec) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        uint64_t start = now_usec(CLOCK_MONOTONIC);
        int r;

        r = sd_bus_call_method(c->bus, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, "Open", &e, &reply, "s", reference);
        *ret_usec = now_usec(CLOCK_MONOTONIC) - start;
        return r < 0 ? complain(r, "Open of %s: %s", reference, e.message) : 0;
}

static int get_property(Client *c, const char *name, const char *property, const char *type, sd_bus_message **ret) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        char *path;
        int r;

        r = sd_bus_path_encode(COMPUTE_VM_PREFIX, name, &path);
        if (r < 0)
                return r;
        r = sd_bus_get_property(c->bus, COMPUTE_BUS_NAME, path, COMPUTE_VM_INTERFACE, property, &e, ret, type);
        free(path);
        return r < 0 ? complain(r, "%s of %s: %s", property, name, e.message) : 0;
}

int vm_get_pid(Client *c, const char *name, pid_t *ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        uint32_t pid = 0;
        int r;

        r = get_property(c, name, "PID", "u", &m);
        if (r >= 0)
                r = sd_bus_message_read(m, "u", &pid);
        *ret = (pid_t) pid;
        return r < 0 ? r : pid == 0 ? complain(0, "%s has no VMM", name) : 0;
}

int vm_get_string(Client *c, const char *name, const char *property, char **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        const char *s = NULL;
        int r;

        r = get_property(c, name, property, "s", &m);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &s);
        if (r < 0)
                return r;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

int vm_report_phases(Client *c, const char *name) {
        static const char *const phases[] = { "phase-scope", "phase-executed", "phase-monitor", "phase-hello", "phase-ready" };
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = get_property(c, name, "StartPhases", "(ttttt)", &m);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'r', "ttttt");
        for (size_t k = 0; r >= 0 && k < ELEMENTSOF(phases); k++) {
                uint64_t t;

                r = sd_bus_message_read(m, "t", &t);
                if (r >= 0)
                        report(phases[k], t);
        }
        return r;
}

int vm_last_transition(Client *c, const char *name, const char *to, uint64_t *ret_realtime) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        const char *state;
        uint64_t when;
        int r;

        *ret_realtime = 0;
        r = vm_message(c, name, "GetTransitions", &m);
        if (r >= 0)
                r = sd_bus_call(c->bus, m, 0, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ttsss)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ttsss)", NULL, &when, NULL, &state, NULL)) > 0)
                if (streq(state, to))
                        *ret_realtime = when;
        return r < 0 ? complain(r, "GetTransitions of %s", name) : 0;
}

static int vm_execute(Client *c, const char *name, char **argv) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        int stdio, errors, control, r;
        char line[256];
        struct pollfd p;
        ssize_t n;

        r = vm_message(c, name, "Exec", &m);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, argv);
        if (r >= 0)
                r = sd_bus_message_append(m, "a{sv}", 0);
        if (r >= 0)
                r = sd_bus_call(c->bus, m, 0, &e, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "hhh", &stdio, &errors, &control);
        if (r < 0)
                return complain(r, "exec in %s: %s", name, strna(e.message));
        p = (struct pollfd) { .fd = control, .events = POLLIN };
        if (poll(&p, 1, EXEC_TIMEOUT_MSEC) <= 0)
                return complain(-ETIME, "exec in %s", name);
        n = read(control, line, sizeof(line) - 1);
        line[n > 0 ? n : 0] = 0;
        return streq(line, "exit 0") ? 0 : complain(0, "exec in %s: '%s'", name, line);
}

int vm_exec(Client *c, const char *name) {
        return vm_execute(c, name, (char *[]) { (char *) "true", NULL });
}

int vm_shell(Client *c, const char *name, const char *script) {
        return vm_execute(c, name, (char *[]) { (char *) "sh", (char *) "-c", (char *) script, NULL });
}

int vms_count(Client *c, unsigned *ret) {
        _cleanup_message_ sd_bus_message *m = NULL, *reply = NULL;
        const char *path;
        int r;

        *ret = 0;
        r = sd_bus_message_new_method_call(c->bus, &m, COMPUTE_BUS_NAME, COMPUTE_OBJECT,
                                           "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
        if (r >= 0)
                r = sd_bus_call(c->bus, m, 60 * USEC_PER_SEC, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}")) > 0) {
                r = sd_bus_message_read(reply, "o", &path);
                if (r >= 0)
                        r = sd_bus_message_skip(reply, "a{sa{sv}}");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
                if (startswith(path, COMPUTE_VM_PREFIX "/"))
                        (*ret)++;
        }
        return r;
}
