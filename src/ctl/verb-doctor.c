/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl doctor: what keeps VMs from running here, as sentences that say what to do. The checks from outside
 * (is there a bus, a service, a polkit, how is the host's network set up) are made here, the rest by the service. */

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/network-doctor.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"

#define ENVIRONMENT_MAX (128u * 1024)
#define MACHINED_USERDB "io.systemd.Machine"

typedef struct Doctor {
        sd_bus *bus;
        Table *table;
        bool failed;
} Doctor;

static int note(Doctor *d, const char *check, const char *result, const char *sentence) {
        if (streq(result, "error"))
                d->failed = true;
        return table_add(d->table, check, result, sentence);
}

/* 1: somebody owns it, or the bus would start somebody; 0: neither. */
static int name_is_served(sd_bus *bus, const char *name) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *activatable;
        int owned, r;

        r = sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                               "NameHasOwner", NULL, &reply, "s", name);
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'b', &owned);
        if (r < 0 || owned)
                return r < 0 ? r : 1;
        reply = sd_bus_message_unref(reply);
        r = sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                               "ListActivatableNames", NULL, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(reply, 's', &activatable)) > 0)
                if (streq(activatable, name))
                        return 1;
        return r;
}

static int check_name(Doctor *d, const char *name, const char *check, const char *present, const char *result,
                      const char *absent) {
        int r;

        r = name_is_served(d->bus, name);
        if (r < 0)
                return r;
        return r > 0 ? note(d, check, "ok", present) : note(d, check, result, absent);
}

static int check_unit(Doctor *d) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *state;
        int r;

        r = sd_bus_call_method(d->bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                               "org.freedesktop.systemd1.Manager", "GetUnitFileState", &error, &reply, "s",
                               "hero-computed.service");
        if (r < 0 && sd_bus_error_has_names(&error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return note(d, "systemd", "error", "systemd is not on the bus: VMs run in its scopes. Boot with systemd.");
        if (r < 0)
                return note(d, "unit", "warning",
                            "hero-computed.service is not installed where systemd looks; 'meson install' puts it there.");
        r = sd_bus_message_read_basic(reply, 's', &state);
        if (r < 0)
                return r;
        if (startswith(state, "enabled") || streq(state, "static"))
                return note(d, "unit", "ok", "hero-computed.service starts at boot.");
        return note(d, "unit", "warning",
                    "hero-computed.service does not start at boot: 'systemctl enable hero-computed'.");
}

/* True: it answers and may be asked more. */
static int check_service(Doctor *d, bool *ret_answers) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(d->bus, HERO_SERVICE, HERO_PATH, "org.freedesktop.DBus.Peer", "Ping", &error, NULL, NULL);
        *ret_answers = r >= 0;
        if (r >= 0)
                return note(d, "service", "ok", "hero-computed answers.");
        if (sd_bus_error_has_names(&error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return note(d, "service", "error", "hero-computed does not run: 'systemctl start hero-computed'.");
        return note(d, "service", "error", "hero-computed does not answer: see 'journalctl -u hero-computed'.");
}

static int ask_service(Doctor *d) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *check, *result, *sentence;
        int r;

        r = manager_call(d->bus, "Diagnose", &error, &reply, NULL);
        if (r < 0)
                return note(d, "diagnosis", "error", error.message ?: "The service could not examine itself.");
        r = sd_bus_message_enter_container(reply, 'a', "(sss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(sss)", &check, &result, &sentence)) > 0) {
                r = note(d, check, result, sentence);
                if (r < 0)
                        return r;
        }
        return r;
}

static bool program_is(uint32_t pid, const char *name) {
        _cleanup_free_ char *comm = NULL;
        char path[64];

        snprintf(path, sizeof(path), "/proc/%u/comm", pid);
        if (read_full_file(AT_FDCWD, path, 64, &comm, NULL) < 0)
                return false;
        comm[strcspn(comm, "\n")] = 0;
        return streq(comm, name);
}

static bool machined_is_there(Doctor *d) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *state = NULL;

        return sd_bus_get_property_string(d->bus, "org.freedesktop.systemd1",
                                          "/org/freedesktop/systemd1/unit/systemd_2dmachined_2eservice",
                                          "org.freedesktop.systemd1.Unit", "LoadState", &error, &state) >= 0 &&
               streq(state, "loaded");
}

/* $SYSTEMD_BYPASS_USERDB: a boolean, or the services to leave out with ":" between them. */
static bool leaves_machined_out(const char *variable) {
        const char *v = startswith(variable, "SYSTEMD_BYPASS_USERDB=");

        if (!v)
                return false;
        if (streq(v, "1") || streq(v, "true") || streq(v, "yes"))
                return true;
        for (size_t n; *v; v += n + (v[n] == ':')) {
                n = strcspn(v, ":");
                if (n == strlen(MACHINED_USERDB) && strncmp(v, MACHINED_USERDB, n) == 0)
                        return true;
        }
        return false;
}

/* See units/dbus-hero-compute.conf. Only root can look into the environment of another user's process. */
static int check_bus(Doctor *d) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *environment = NULL;
        char path[64];
        uint32_t pid;
        size_t n;

        if (!machined_is_there(d))
                return 0;
        if (sd_bus_get_property_trivial(d->bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/dbus_2eservice",
                                        "org.freedesktop.systemd1.Service", "MainPID", &error, 'u', &pid) < 0 || pid == 0)
                return 0;
        snprintf(path, sizeof(path), "/proc/%u/environ", pid);
        if (!program_is(pid, "dbus-daemon") || read_full_file(AT_FDCWD, path, ENVIRONMENT_MAX, &environment, &n) < 0)
                return 0;
        for (const char *v = environment; v < environment + n; v += strlen(v) + 1)
                if (leaves_machined_out(v))
                        return note(d, "bus", "ok", "dbus-daemon leaves systemd-machined out when it looks up users.");
        return note(d, "bus", "warning",
                    "dbus-daemon was started without what Hero Compute adds to dbus.service: a user who connects while "
                    "systemd-machined registers a VM can hold up the whole bus for 25 s. Mended by the next boot.");
}

static int note_network(void *userdata, const char *check, const char *result, const char *sentence) {
        return note(userdata, check, result, sentence);
}

typedef struct NetworkNeeds {
        uint32_t n_vms;
        char *ipv4_pool;
} NetworkNeeds;

static void network_needs_done(NetworkNeeds *n) {
        free(n->ipv4_pool);
}

/* Without a service that says what it needs: for no VM yet, and as it is configured when nothing is. */
static int check_network(Doctor *d, bool answers) {
        static const PropertyMap properties[] = {
                { "NVMs", "u", offsetof(NetworkNeeds, n_vms) },
                { "IPv4Pool", "s", offsetof(NetworkNeeds, ipv4_pool) },
                {},
        };
        _cleanup_(network_needs_done) NetworkNeeds needs = {};
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (root < 0)
                return negative_errno();
        if (answers)
                (void) bus_get_properties(d->bus, HERO_PATH, HERO_MANAGER, properties, &needs, &error);
        return network_doctor(&(NetworkDoctor) {
                .root = root,
                .vms = needs.n_vms,
                .ipv4 = !needs.ipv4_pool || needs.ipv4_pool[0],
                .note = note_network,
                .userdata = d,
        });
}

static int examine(Doctor *d) {
        bool answers = false;
        int r;

        r = check_unit(d);
        if (r >= 0)
                r = check_service(d, &answers);
        if (r >= 0)
                r = check_name(d, HERO_IMAGES, "images", "hero-imaged is there, or starts when it is needed.", "error",
                               "Nothing serves " HERO_IMAGES ": 'systemctl start hero-imaged'; see journalctl -u hero-imaged.");
        if (r >= 0)
                r = check_name(d, "org.freedesktop.PolicyKit1", "polkit", "polkit is there to authorise users.", "warning",
                               "polkit is not there: only root can use VMs. Install the package polkitd.");
        if (r >= 0)
                r = check_bus(d);
        if (r >= 0)
                r = check_network(d, answers);
        if (r >= 0 && answers)
                r = ask_service(d);
        return r;
}

static int run(int argc, char **argv) {
        static const Column columns[] = {
                { "CHECK", "check", COLUMN_STRING },
                { "RESULT", "result", COLUMN_STRING },
                { "WHAT", "message", COLUMN_STRING, COLUMN_WRAP },
        };
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_table_ Table *t = NULL;
        Doctor d = {};
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return STATUS_FAILURE;
        r = table_new(columns, ELEMENTSOF(columns), &t);
        d.bus = bus;
        d.table = t;
        if (r >= 0)
                r = examine(&d);
        if (r >= 0)
                r = table_print(t, NULL);
        if (r < 0)
                return report_error(r, NULL, "examine the host");
        return d.failed ? STATUS_FAILURE : STATUS_SUCCESS;
}

const Verb verb_doctor = {
        .name = "doctor",
        .arguments = "",
        .summary = "Find out what keeps VMs from running here",
        .help = "\nExits with 1 when there is an error among the findings.\n",
        .run = run,
};
