/* SPDX-License-Identifier: Apache-2.0 */

/* Calls of hero-rpcd one at a time, beside those of the bus that they become; and a service that has many VMs to tell of and nothing
 * else, in the place of hero-computed. */

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "bench.h"
#include "shared/bus-util.h"

#define SOCKET "/run/hero-compute/rpc.sock"
#define RPCD_USER "hero-rpcd"
#define VM "bench-0"

int verb_rpc_time(Client *c, char **argv) {
        _cleanup_free_ char *request = rpc_request(argv[1]), *buf = NULL;
        unsigned count = (unsigned) strtoul(argv[2], NULL, 10);
        _cleanup_close_ int fd = rpc_connect(argv[0]);
        size_t allocated = 0;
        uint64_t usec;
        int r = 0;

        if (fd < 0)
                return complain(fd, "%s", argv[0]);
        for (unsigned i = 0; i < count && r >= 0; i++) {
                r = rpc_ask(fd, request, &buf, &allocated, &usec);
                if (r >= 0)
                        report(argv[3], usec);
        }
        if (r >= 0)
                fprintf(stderr, "hero-bench: the last answer has %zu bytes\n", strlen(buf));
        return r;
}

/* A connection to the bus of hero-rpcd's user: what it is authorised as is what it was made as. */
static int client_of_rpcd(Client **ret) {
        const struct passwd *p = getpwnam(RPCD_USER);
        int r;

        if (!p)
                return complain(0, "there is no user " RPCD_USER);
        if (seteuid(p->pw_uid) < 0)
                return -errno;
        r = client_new(ret);
        if (r >= 0)
                r = sd_bus_get_unique_name((*ret)->bus, &(const char *) { NULL });
        return seteuid(0) < 0 ? -errno : r;
}

static int set_weight(Client *c, unsigned weight, uint64_t *ret_usec) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        uint64_t begin = now_usec(CLOCK_MONOTONIC);
        char *path = NULL;
        int r;

        r = sd_bus_path_encode(COMPUTE_VM_PREFIX, VM, &path);
        if (r >= 0)
                r = sd_bus_call_method(c->bus, COMPUTE_BUS_NAME, path, COMPUTE_VM_INTERFACE, "SetResources", &e, NULL, "a{sv}", 1,
                                       "CPUWeight", "t", (uint64_t) weight);
        *ret_usec = now_usec(CLOCK_MONOTONIC) - begin;
        free(path);
        return r < 0 ? complain(r, "SetResources: %s", strna(e.message)) : 0;
}

typedef struct Shim {
        int fd;
        char *buf;
        size_t allocated;
} Shim;

static int shim(Shim *s, const char *method, const char *params, uint64_t *ret_usec) {
        _cleanup_free_ char *body = strprintf("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":{\"vm_id\":\"" VM "\"%s}}", method,
                                              params);
        _cleanup_free_ char *request = body ? rpc_request(body) : NULL;

        return request ? rpc_ask(s->fd, request, &s->buf, &s->allocated, ret_usec) : -ENOMEM;
}

static int weights(Client *root, Client *rpcd, Shim *s, unsigned i) {
        char params[64];
        uint64_t usec;
        int r;

        r = set_weight(root, 100 + i % 100 * 3, &usec);
        if (r < 0)
                return r;
        report("set-root", usec);
        r = set_weight(rpcd, 101 + i % 100 * 3, &usec);
        if (r < 0)
                return r;
        report("set-rpcd", usec);
        snprintf(params, sizeof(params), ",\"cpu_weight\":%u", 102 + i % 100 * 3);
        r = shim(s, "vm.set_resources", params, &usec);
        if (r >= 0)
                report("set-shim", usec);
        return r;
}

/* The kernel tells of changes in a cgroup at most every 10 ms. */
static void rest(void) {
        (void) usleep(30000);
}

static int sleeps(Client *root, Client *rpcd, Shim *s) {
        static const char *const members[] = { "Suspend", "Resume" }, *const methods[] = { "vm.suspend", "vm.resume" };
        static const char *const names[][3] = { { "suspend-root", "suspend-rpcd", "suspend-shim" },
                                                { "resume-root", "resume-rpcd", "resume-shim" } };
        uint64_t usec;
        int r = 0;

        for (unsigned who = 0; who < 3; who++)
                for (unsigned k = 0; k < 2; k++) {
                        rest();
                        r = who == 2 ? shim(s, methods[k], "", &usec) : vm_call(who == 1 ? rpcd : root, VM, members[k], &usec);
                        if (r < 0)
                                return r;
                        report(names[k][who], usec);
                }
        return r;
}

/* One way and the other, in turns: by D-Bus as root, by D-Bus as hero-rpcd's user, and by JSON-RPC as root. */
int verb_rpc_mutation(Client *c, char **argv) {
        unsigned count = (unsigned) strtoul(argv[0], NULL, 10);
        _cleanup_(client_freep) Client *rpcd = NULL;
        Shim s = { .fd = rpc_connect(SOCKET) };
        int r;

        r = s.fd < 0 ? complain(s.fd, SOCKET) : client_of_rpcd(&rpcd);
        for (unsigned i = 0; i < count && r >= 0; i++) {
                r = weights(c, rpcd, &s, i);
                if (r >= 0)
                        r = sleeps(c, rpcd, &s);
        }
        safe_close(s.fd);
        free(s.buf);
        return r;
}

/* --- Many VMs --------------------------------------------------------------------------------------------------------------- */

static int add_vm(sd_bus_message *m, unsigned i) {
        char path[128], name[64], id[32], address[64], tap[32];
        int r;

        snprintf(path, sizeof(path), COMPUTE_VM_PREFIX "/bench_2d%u", i);
        snprintf(name, sizeof(name), "bench-%u", i);
        snprintf(id, sizeof(id), "%012x", i);
        snprintf(address, sizeof(address), "fd00::%x/64", i);
        snprintf(tap, sizeof(tap), "hc-%012x", i);
        r = sd_bus_message_open_container(m, 'e', "oa{sa{sv}}");
        if (r >= 0)
                r = sd_bus_message_append(m, "oa{sa{sv}}", path, 1, COMPUTE_VM_INTERFACE, 18, "Id", "s", id, "Name", "s", name, "User", "s", "",
                                          "State", "s", "running", "StateReason", "s", "", "Image", "s", "busybox", "MyceliumIP", "s",
                                          address, "IPAddress", "s", address, "TAPDevice", "s", tap, "Unit", "s", "hero-vm-x.scope",
                                          "CPUs", "u", 1u, "PID", "u", 1u, "Memory", "t", BENCH_MEMORY, "Disk", "t", BENCH_DISK,
                                          "CreatedTimestamp", "t", UINT64_C(1736937000000000), "StartedTimestamp", "t",
                                          UINT64_C(1736937001000000), "StoppedTimestamp", "t", UINT64_C(0), "LastActivityTimestamp", "t",
                                          UINT64_C(1736937001000000));
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int on_objects(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *m = NULL;
        unsigned count = *(unsigned *) userdata;
        int r;

        r = sd_bus_message_new_method_return(call, &m);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{oa{sa{sv}}}");
        for (unsigned i = 0; r >= 0 && i < count; i++)
                r = add_vm(m, i);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_send(NULL, m, NULL);
        return r < 0 ? complain(r, "GetManagedObjects") : 1;
}

/* sd-bus would not let us have an object of our own with this interface. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects") > 0 ?
                on_objects(m, userdata, error) : 0;
}

int verb_rpc_objects(Client *c, char **argv) {
        unsigned count = (unsigned) strtoul(argv[0], NULL, 10);
        int r;

        r = sd_bus_add_filter(c->bus, NULL, on_message, &count);
        if (r >= 0)
                r = sd_bus_request_name(c->bus, COMPUTE_BUS_NAME, 0);
        return r < 0 ? complain(r, COMPUTE_BUS_NAME) : sd_event_loop(c->event);
}
