/* SPDX-License-Identifier: Apache-2.0 */

/* The QMP client. Life of a connection: greeting → qmp_capabilities → READY; or, when it is older than this
 * process, query-status → READY, with the negotiation made up for where the former daemon did not get to it.
 *
 * To save and to load is one call of ours and several commands, each said when the one before it was answered, and ends
 * with an event: getfd → qom-get → migrate-set-capabilities → migrate or migrate-incoming → MIGRATION. */

#include "hypervisor/qemu/qmp.h"

#include <jansson.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "hypervisor/qemu/command-line.h"

/* QEMU 7.2 says that a migration failed before its thread is done with it: "cont" may be refused then ("Migration is not
 * finalized yet"), and another "migrate" end in an abort. Nothing tells when that is over; mostly it takes less than 1 ms. */
#define SETTLE_USEC (100 * USEC_PER_MSEC)

/* Longer than any distribution's. */
#define VERSION_LENGTH_MAX 128u

typedef enum CallKind {
        CALL_COMMAND,
        CALL_STATUS,
        CALL_HELLO,
        CALL_CAPABILITIES,
        CALL_GETFD,
        CALL_SHARED,
        CALL_IGNORE_SHARED,
        CALL_MIGRATE,
        CALL_REASON, /* why it failed */
        CALL_FAILED, /* known why, and to be answered soon */
} CallKind;

typedef struct Qmp {
        VmmConnection connection;
        bool tolerant;    /* adopted, and nothing that is ours has come yet: the rest of an old message may */
        bool negotiating;
        bool ready;
        char *version;      /* NULL: not known */
        uint64_t migration; /* id of the call that saves or loads, if there is such a call */
        bool incoming;      /* it loads */
        char *reason;       /* why it failed */
        sd_event_source *settle;
} Qmp;

/* Commands and arguments are words of ours, there is nothing to escape. */
static int say(Qmp *q, uint64_t id, const char *command, const char *arguments, int fd) {
        char buf[320];
        int n;

        n = snprintf(buf, sizeof(buf), "{\"execute\":\"%s\",\"arguments\":{%s},\"id\":%llu}\n", command, arguments,
                     (unsigned long long) id);
        assert(n > 0 && (size_t) n < sizeof(buf));
        return vmm_connection_send(&q->connection, buf, (size_t) n, fd);
}

static int call(Qmp *q, CallKind kind, const char *command, vmm_done_t done, void *userdata) {
        VmmCall *c;
        int r;

        r = vmm_connection_call(&q->connection, kind, done, userdata, &c);
        if (r < 0)
                return r;
        r = say(q, c->id, command, "", -EBADF);
        if (r < 0)
                vmm_connection_cancel(&q->connection, c);
        return r;
}

static void ready(Qmp *q) {
        if (q->ready)
                return;
        q->ready = true;
        vmm_connection_event(&q->connection, VMM_EVENT_READY);
}

static int negotiate(Qmp *q) {
        if (q->negotiating || q->ready)
                return 0;
        q->negotiating = true;
        return call(q, CALL_CAPABILITIES, "qmp_capabilities", NULL, NULL);
}

static int handle_shutdown(Qmp *q, json_t *message) {
        const char *reason = NULL;
        VmmEvent event;
        int guest = 0;

        if (json_unpack(message, "{s:{s:b,s?s}}", "data", "guest", &guest, "reason", &reason) < 0)
                return -EBADMSG;
        if (!guest)
                event = VMM_EVENT_HOST_SHUTDOWN;
        else if (streq_ptr(reason, "guest-reset"))
                event = VMM_EVENT_GUEST_RESET;
        else if (streq_ptr(reason, "guest-panic"))
                event = VMM_EVENT_GUEST_PANIC;
        else
                event = VMM_EVENT_GUEST_SHUTDOWN;
        vmm_connection_event(&q->connection, event);
        return 0;
}

static int say_step(Qmp *q, VmmCall *c, CallKind step, int fd) {
        static const struct {
                const char *command, *arguments;
        } steps[] = {
                [CALL_GETFD] = { "getfd", "\"fdname\":\"state\"" },
                [CALL_SHARED] = { "qom-get", "\"path\":\"/objects/" QEMU_MEMORY "\",\"property\":\"share\"" },
                [CALL_IGNORE_SHARED] = { "migrate-set-capabilities",
                                         "\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"
                                         "{\"capability\":\"events\",\"state\":true}]" },
                [CALL_MIGRATE] = { "migrate", "\"uri\":\"fd:state\"" },
                [CALL_REASON] = { "query-migrate", "" },
        };
        const char *command = step == CALL_MIGRATE && q->incoming ? "migrate-incoming" : steps[step].command;

        c->kind = (int) step;
        /* A new one, so that no answer is taken for that to a later command. */
        q->migration = c->id = q->connection.next_id++;
        return say(q, c->id, command, steps[step].arguments, fd);
}

static void next_step(Qmp *q, VmmCall *c, CallKind step) {
        int r;

        r = say_step(q, c, step, -EBADF);
        if (r < 0 && r != -ENOTCONN) /* with LOST it is answered, too */
                vmm_connection_answer(&q->connection, c, r, NULL);
}

static void refuse_private_memory(Qmp *q, VmmCall *c) {
        vmm_connection_answer(&q->connection, c, -EREMOTEIO, "The memory of this VM is not in a file, which saving needs.");
}

static int handle_migration(Qmp *q, json_t *message) {
        VmmCall *c = vmm_connection_find(&q->connection, q->migration);
        const char *status = NULL;

        if (json_unpack(message, "{s:{s:s}}", "data", "status", &status) < 0)
                return -EBADMSG;
        if (!c || c->kind != CALL_MIGRATE)
                return 0;
        if (streq(status, "completed"))
                vmm_connection_answer(&q->connection, c, 0, NULL);
        else if (streq(status, "failed") && q->incoming) /* QEMU is ending, its reason is on stderr */
                vmm_connection_answer(&q->connection, c, -EREMOTEIO, "QEMU cannot read the saved state.");
        else if (streq(status, "failed"))
                next_step(q, c, CALL_REASON);
        return 0;
}

static int handle_event(Qmp *q, json_t *message, const char *name) {
        static const struct {
                const char *name;
                VmmEvent event;
        } events[] = {
                { "STOP", VMM_EVENT_PAUSED },
                { "RESUME", VMM_EVENT_RESUMED },
                { "RESET", VMM_EVENT_GUEST_RESET },
                { "GUEST_PANICKED", VMM_EVENT_GUEST_PANIC },
        };

        if (streq(name, "SHUTDOWN"))
                return handle_shutdown(q, message);
        if (streq(name, "MIGRATION"))
                return handle_migration(q, message);
        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (streq(name, events[i].name)) {
                        vmm_connection_event(&q->connection, events[i].event);
                        break;
                }
        return 0; /* and many more, of no interest */
}

static int handle_error(Qmp *q, VmmCall *c, json_t *error) {
        const char *text = NULL;

        (void) json_unpack(error, "{s:s}", "desc", &text);
        switch (c->kind) {
        case CALL_HELLO:
                /* "Expecting capabilities negotiation": the former daemon ended that early. */
                vmm_connection_cancel(&q->connection, c);
                return negotiate(q);
        case CALL_CAPABILITIES:
                /* It was negotiated after all. */
                vmm_connection_cancel(&q->connection, c);
                ready(q);
                return 0;
        case CALL_SHARED:
                refuse_private_memory(q, c); /* there is no such object */
                return 0;
        default:
                vmm_connection_answer(&q->connection, c, -EREMOTEIO, text);
                return 0;
        }
}

static int handle_status(Qmp *q, VmmCall *c, json_t *value) {
        const char *status = NULL;
        int running = 0;

        if (json_unpack(value, "{s:s,s:b}", "status", &status, "running", &running) < 0)
                return -EBADMSG;
        vmm_connection_answer(&q->connection, c, !running, status);
        return 0;
}

static int on_settled(sd_event_source *s, uint64_t usec, void *userdata) {
        Qmp *q = userdata;
        VmmCall *c = vmm_connection_find(&q->connection, q->migration);
        _cleanup_free_ char *reason = TAKE_PTR(q->reason);

        q->settle = sd_event_source_disable_unref(q->settle);
        if (c) /* else lost meanwhile */
                vmm_connection_answer(&q->connection, c, -EREMOTEIO, reason);
        return 0;
}

static int handle_reason(Qmp *q, VmmCall *c, json_t *value) {
        const char *text = NULL;
        int r;

        if (json_unpack(value, "{s?s}", "error-desc", &text) < 0)
                return -EBADMSG;
        c->kind = CALL_FAILED;
        free(q->reason);
        q->reason = strdup(text ?: "QEMU cannot write the state.");
        r = sd_event_add_time_relative(sd_event_source_get_event(q->connection.io), &q->settle, CLOCK_MONOTONIC, SETTLE_USEC,
                                       1, on_settled, q);
        if (r < 0)
                vmm_connection_answer(&q->connection, c, -EREMOTEIO, text);
        return 0;
}

static int handle_value(Qmp *q, VmmCall *c, json_t *value) {
        switch (c->kind) {
        case CALL_STATUS:
                return handle_status(q, c, value);
        case CALL_COMMAND:
                vmm_connection_answer(&q->connection, c, 0, NULL);
                return 0;
        case CALL_GETFD:
                next_step(q, c, CALL_SHARED);
                return 0;
        case CALL_SHARED:
                if (json_is_true(value))
                        next_step(q, c, CALL_IGNORE_SHARED);
                else
                        refuse_private_memory(q, c);
                return 0;
        case CALL_IGNORE_SHARED:
                next_step(q, c, CALL_MIGRATE);
                return 0;
        case CALL_MIGRATE: /* it has begun */
        case CALL_FAILED:
                return 0;
        case CALL_REASON:
                return handle_reason(q, c, value);
        default:
                vmm_connection_cancel(&q->connection, c);
                ready(q);
                return 0;
        }
}

static int handle_answer(Qmp *q, json_t *message) {
        json_t *id = json_object_get(message, "id"), *value = json_object_get(message, "return"),
               *error = json_object_get(message, "error");
        VmmCall *c;

        if (!value && !error)
                return -EBADMSG;
        if (!id)
                return error && !q->tolerant ? -EBADMSG : 0; /* QEMU could not even parse what we wrote */
        c = json_is_integer(id) ? vmm_connection_find(&q->connection, (uint64_t) json_integer_value(id)) : NULL;
        if (!c)
                return 0; /* asked by a former daemon */
        q->tolerant = false;
        return error ? handle_error(q, c, error) : handle_value(q, c, value);
}

/* "QEMU 7.2.19 (Debian 1:7.2+dfsg-7+deb12u16)". Without one the VM runs none the worse. */
static void take_version(Qmp *q, json_t *greeting) {
        int major, minor, micro;
        const char *package = NULL;
        char *s;

        if (q->version ||
            json_unpack(greeting, "{s:{s:{s:{s:i,s:i,s:i},s?s}}}", "QMP", "version", "qemu", "major", &major, "minor",
                        &minor, "micro", &micro, "package", &package) < 0)
                return;
        s = isempty(package) ? strprintf("QEMU %d.%d.%d", major, minor, micro)
                             : strprintf("QEMU %d.%d.%d (%s)", major, minor, micro, package);
        if (s && strlen(s) <= VERSION_LENGTH_MAX && utf8_is_clean(s, NULL))
                q->version = TAKE_PTR(s);
        free(s);
}

static int handle_line(Qmp *q, const char *line, size_t n) {
        json_auto_t *message = NULL;
        const char *event;

        message = json_loadb(line, n, 0, NULL);
        if (!json_is_object(message))
                return -EBADMSG;
        event = json_string_value(json_object_get(message, "event"));
        if (event)
                return handle_event(q, message, event);
        if (json_object_get(message, "QMP")) {
                take_version(q, message);
                return negotiate(q);
        }
        return handle_answer(q, message);
}

static int qmp_line(VmmConnection *c, char *line, size_t n) {
        Qmp *q = (Qmp *) c;
        bool tolerant = q->tolerant;
        int r;

        if (n == 0)
                return 0;
        r = handle_line(q, line, n); /* may have freed q */
        return r < 0 && tolerant ? 0 : r;
}

int qmp_new(sd_event *event, int fd, bool adopted, vmm_event_t callback, void *userdata, VmmMonitor **ret) {
        Qmp *q;
        int r;

        q = new0(Qmp, 1);
        if (!q)
                return -ENOMEM;
        q->tolerant = adopted;
        r = vmm_connection_init(&q->connection, &hypervisor_qemu, event, fd, qmp_line, callback, userdata);
        if (r < 0) {
                free(q);
                return r;
        }
        /* A connection that is broken already shows when the loop reads from it. */
        if (adopted)
                (void) call(q, CALL_HELLO, "query-status", NULL, NULL);
        *ret = &q->connection.monitor;
        return 0;
}

VmmMonitor *qmp_free(VmmMonitor *m) {
        if (m) {
                vmm_connection_done((VmmConnection *) m);
                sd_event_source_disable_unref(((Qmp *) m)->settle);
                free(((Qmp *) m)->reason);
                free(((Qmp *) m)->version);
                free(m);
        }
        return NULL;
}

int qmp_command(VmmMonitor *m, const char *command, vmm_done_t done, void *userdata) {
        return call((Qmp *) m, CALL_COMMAND, command, done, userdata);
}

int qmp_query_paused(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return call((Qmp *) m, CALL_STATUS, "query-status", done, userdata);
}

static int migrate(Qmp *q, bool incoming, int fd, vmm_done_t done, void *userdata) {
        VmmCall *c;
        int r;

        if (q->connection.lost)
                return -ENOTCONN;
        if (vmm_connection_find(&q->connection, q->migration))
                return -EBUSY;
        r = vmm_connection_call(&q->connection, CALL_GETFD, done, userdata, &c);
        if (r < 0)
                return r;
        q->incoming = incoming;
        r = say_step(q, c, CALL_GETFD, fd);
        if (r < 0)
                vmm_connection_cancel(&q->connection, c);
        return r;
}

int qmp_save(VmmMonitor *m, int fd, vmm_done_t done, void *userdata) {
        return migrate((Qmp *) m, false, fd, done, userdata);
}

int qmp_load(VmmMonitor *m, int fd, vmm_done_t done, void *userdata) {
        return migrate((Qmp *) m, true, fd, done, userdata);
}

const char *qmp_version(const VmmMonitor *m) {
        return ((const Qmp *) m)->version;
}
