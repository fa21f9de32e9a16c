/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl events: the transitions the service remembers and, with --follow, those that come. Without a gap: the
 * signal is subscribed to first, then the past is read, and sequence numbers tell what was seen already; when the
 * service is restarted, the past is asked for again. */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"

static bool arg_follow = false;
static uint64_t arg_since = 0;

typedef struct Events {
        sd_bus *bus;
        sd_event *event;
        const char *vm; /* "" for all */
        uint64_t next;  /* sequence number of the last one seen */
        Table *table;   /* unless following */
} Events;

static const Column columns[] = {
        { "SEQUENCE", "sequence", COLUMN_NUMBER, COLUMN_JSON_ONLY },
        { "TIME", "time", COLUMN_TIME },
        { "VM", "vm", COLUMN_STRING },
        { "FROM", "from", COLUMN_STRING },
        { "TO", "to", COLUMN_STRING },
        { "REASON", "reason", COLUMN_STRING },
};

static int show(Events *e, uint64_t sequence, uint64_t time, const char *vm, const char *from, const char *to,
                const char *reason) {
        _cleanup_table_ Table *t = NULL;
        _cleanup_free_ char *clean = NULL;
        char local[LOCAL_TIME_MAX];
        int r;

        if (e->table)
                return table_add(e->table, sequence, time, vm, from, to, reason);
        if (arg_json == JSON_OFF) {
                clean = sanitize_line(reason);
                printf("%s %s: %s → %s: %s\n", format_local_time(local, time), vm, from, to, strna(clean));
        } else {
                r = table_new(columns, ELEMENTSOF(columns), &t);
                if (r >= 0)
                        r = table_add(t, sequence, time, vm, from, to, reason);
                if (r >= 0)
                        r = table_print_lines(t);
                if (r < 0)
                        return r;
        }
        return fflush(stdout) == 0 ? 0 : negative_errno();
}

static int read_page(Events *e, sd_bus_message *m, size_t *ret_n) {
        const char *vm, *from, *to, *reason;
        uint64_t sequence, time;
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ttssss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(ttssss)", &sequence, &time, &vm, &from, &to, &reason)) > 0) {
                r = show(e, sequence, time, vm, from, to, reason);
                if (r < 0)
                        return r;
                e->next = MAX2(e->next, sequence);
                n++;
        }
        if (r < 0)
                return r;
        *ret_n = n;
        return sd_bus_message_exit_container(m);
}

/* Everything after e->next; complain: about what is no longer known in between. */
static int read_past(Events *e, bool complain, sd_bus_error *error) {
        for (;;) {
                _cleanup_message_ sd_bus_message *reply = NULL;
                uint64_t next, lost, before = e->next;
                size_t n;
                int r;

                r = manager_call(e->bus, "EventsSince", error, &reply, "ts", e->next, e->vm);
                if (r < 0)
                        return r;
                r = read_page(e, reply, &n);
                if (r < 0)
                        return r;
                r = sd_bus_message_read(reply, "tt", &next, &lost);
                if (r < 0)
                        return r;
                if (next < before && n == 0) { /* the service counts from the beginning again */
                        e->next = 0;
                        continue;
                }
                if (lost > 0 && complain && !arg_quiet)
                        fprintf(stderr, "-- %" PRIu64 " transitions are no longer known --\n", lost);
                e->next = MAX2(e->next, next);
                if (n == 0)
                        return 0;
                complain = true;
        }
}

static int on_transition(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Events *e = userdata;
        const char *vm, *from, *to, *reason;
        uint64_t sequence, time;
        int r;

        r = sd_bus_message_read(m, "ttssss", &sequence, &time, &vm, &from, &to, &reason);
        if (r < 0 || sequence <= e->next)
                return 0;
        e->next = sequence;
        if (!isempty(e->vm) && !streq(e->vm, vm))
                return 0;
        r = show(e, sequence, time, vm, from, to, reason);
        if (r < 0)
                sd_event_exit(e->event, r);
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Events *e = userdata;
        const char *owner;
        int r;

        r = sd_bus_message_read(m, "sss", NULL, NULL, &owner);
        if (r < 0)
                return 0;
        if (isempty(owner)) {
                if (!arg_quiet)
                        fprintf(stderr, "-- the service ended; waiting for it --\n");
                return 0;
        }
        r = read_past(e, true, &error);
        if (r < 0)
                report_error(r, &error, "read the transitions since the service's restart");
        return 0;
}

static int subscribe(Events *e) {
        int r;

        r = sd_bus_match_signal(e->bus, NULL, HERO_SERVICE, HERO_PATH, HERO_MANAGER, "Transition", on_transition, e);
        if (r < 0)
                return r;
        return sd_bus_add_match(e->bus, NULL,
                                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" HERO_SERVICE "'",
                                on_owner, e);
}

static int on_hangup(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        return sd_event_exit(sd_event_source_get_event(s), -EPIPE);
}

static int follow(Events *e) {
        int r;

        r = sd_event_new(&e->event);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(e->bus, e->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        r = sd_event_add_io(e->event, NULL, STDOUT_FILENO, 0, on_hangup, NULL); /* … | head -1 */
        if (r < 0 && r != -EPERM)
                return r;
        r = sd_event_loop(e->event);
        (void) sd_bus_detach_event(e->bus);
        e->event = sd_event_unref(e->event);
        return r;
}

/* An event's VM may be gone by now: a name that nobody answers to is taken as it is. */
static int name_of(sd_bus *bus, const char *given, char **ret, sd_bus_error *error) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = resolve_vm(bus, given, &path, ret, error);
        if (r < 0 && sd_bus_error_get_errno(error) == ENXIO) {
                sd_bus_error_free(error);
                return free_and_strdup(ret, given);
        }
        return r;
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *vm = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_table_ Table *t = NULL;
        Events e = { .next = arg_since };
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        e.bus = bus;
        r = argc > 0 ? name_of(bus, argv[0], &vm, &error) : 0;
        e.vm = strempty(vm);
        if (arg_follow)
                (void) signal(SIGPIPE, SIG_IGN); /* -EPIPE says it */
        if (r >= 0 && arg_follow)
                r = subscribe(&e);
        if (r >= 0 && !arg_follow)
                r = table_new(columns, ELEMENTSOF(columns), &t);
        e.table = t;
        if (r >= 0)
                r = read_past(&e, arg_since > 0, &error);
        if (r >= 0)
                r = arg_follow ? follow(&e) : table_print(t, "transitions");
        if (r == -EPIPE)
                return STATUS_SIGNAL + SIGPIPE;
        return r < 0 ? report_error(r, &error, "read the transitions") : 0;
}

static const Option options[] = {
        { 'f', "follow", NULL, OPTION_FLAG, &arg_follow, "Go on with what comes, until interrupted" },
        { 0, "since", "SEQUENCE", OPTION_UINT64, &arg_since, "Only those after this sequence number" },
        {},
};

const Verb verb_events = {
        .name = "events",
        .arguments = "[VM]",
        .summary = "Show the transitions of VMs from state to state",
        .options = options,
        .max = 1,
        .run = run,
};
