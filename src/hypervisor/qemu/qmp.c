/* SPDX-License-Identifier: Apache-2.0 */

/* The QMP client. Life of a connection: greeting → qmp_capabilities → READY; or, when it is older than this
 * process, query-status → READY, with the negotiation made up for where the former daemon did not get to it. */

#include "hypervisor/qemu/qmp.h"

#include <jansson.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

typedef enum CallKind { CALL_COMMAND, CALL_STATUS, CALL_HELLO, CALL_CAPABILITIES } CallKind;

typedef struct Qmp {
        VmmConnection connection;
        bool tolerant;    /* adopted, and nothing that is ours has come yet: the rest of an old message may */
        bool negotiating;
        bool ready;
} Qmp;

static int call(Qmp *q, CallKind kind, const char *command, vmm_done_t done, void *userdata) {
        char buf[256];
        VmmCall *c;
        int n, r;

        r = vmm_connection_call(&q->connection, kind, done, userdata, &c);
        if (r < 0)
                return r;
        /* Commands are words of ours, there is nothing to escape. */
        n = snprintf(buf, sizeof(buf), "{\"execute\":\"%s\",\"id\":%llu}\n", command, (unsigned long long) c->id);
        assert(n > 0 && (size_t) n < sizeof(buf));
        r = vmm_connection_send(&q->connection, buf, (size_t) n);
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
        if (error)
                return handle_error(q, c, error);
        if (c->kind == CALL_STATUS)
                return handle_status(q, c, value);
        if (c->kind == CALL_COMMAND) {
                vmm_connection_answer(&q->connection, c, 0, NULL);
                return 0;
        }
        vmm_connection_cancel(&q->connection, c);
        ready(q);
        return 0;
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
        if (json_object_get(message, "QMP"))
                return negotiate(q);
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
