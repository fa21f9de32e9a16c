/* SPDX-License-Identifier: Apache-2.0 */

/* The mock driver: a VMM that is a real process, with console, monitor and agent, and no guest in it. It shows
 * what the rest of the product does with a VMM, fast and on any machine, and fails on request. */

#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "hypervisor/connection.h"
#include "hypervisor/mock/mock-protocol.h"
#include "hypervisor/mock/mock-script.h"
#include "shared/program-path.h"

#define OVERHEAD (UINT64_C(8) << 20)

typedef struct MockMonitor {
        VmmConnection connection;
        bool tolerant; /* adopted, and nothing that is ours has come yet: the rest of a former daemon's line may */
        bool ready;
        bool greeted;
} MockMonitor;

typedef enum CallKind { CALL_COMMAND, CALL_STATUS, CALL_HELLO } CallKind;

static int mock_available(char **ret_why) {
        _cleanup_free_ char *path = program_path(MOCK_PROGRAM);
        int r;

        if (!path)
                return -ENOMEM;
        if (access(path, X_OK) >= 0)
                return 0;
        r = negative_errno();
        *ret_why = strprintf("The mock VMM %s cannot be executed: %s.", path, strerror(-r));
        return r;
}

static uint64_t mock_memory_overhead(const VmmSpec *spec) {
        return OVERHEAD;
}

static int add_fd_argument(VmmCommand *c, const char *name, int fd) {
        int k;

        if (fd < 0)
                return 0;
        k = vmm_command_add_fd(c, fd);
        return k < 0 ? k : strv_extendf(&c->argv, "%s=%d", name, k);
}

static int add_network(VmmCommand *c, const VmmSpec *spec) {
        const uint8_t *m = spec->mac;
        int r;

        if (spec->tap_fd < 0)
                return 0;
        r = add_fd_argument(c, "tap", spec->tap_fd);
        return r < 0 ? r : strv_extendf(&c->argv, "mac=%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static int mock_command(const VmmSpec *spec, VmmCommand *ret) {
        _cleanup_(vmm_command_done) VmmCommand c = {};
        MockScript script;
        int r;

        r = mock_script_parse(spec->mock_script, &script);
        if (r >= 0)
                r = strv_consume(&c.argv, program_path(MOCK_PROGRAM));
        if (r >= 0)
                r = strv_extendf(&c.argv, "name=%s", spec->name);
        if (r >= 0)
                r = add_fd_argument(&c, "console", spec->console_fd);
        if (r >= 0)
                r = add_fd_argument(&c, "monitor", spec->monitor_fd);
        if (r >= 0)
                r = add_fd_argument(&c, "agent", spec->agent_fd);
        if (r >= 0)
                r = add_network(&c, spec);
        if (r >= 0)
                r = add_fd_argument(&c, "memory", spec->memory_fd);
        if (r >= 0 && spec->incoming)
                r = spec->memory_fd >= 0 ? strv_extend(&c.argv, "incoming=yes") : -EINVAL;
        if (r >= 0 && !isempty(spec->mock_script))
                r = strv_extendf(&c.argv, "script=%s", spec->mock_script);
        if (r < 0)
                return r;
        *ret = c;
        c = (VmmCommand) {};
        return 0;
}

static int handle_event(MockMonitor *m, const char *name) {
        static const VmmEvent events[] = {
                VMM_EVENT_PAUSED, VMM_EVENT_RESUMED, VMM_EVENT_GUEST_SHUTDOWN, VMM_EVENT_HOST_SHUTDOWN,
                VMM_EVENT_GUEST_RESET, VMM_EVENT_GUEST_PANIC,
        };

        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (streq(name, vmm_event_to_string(events[i]))) {
                        vmm_connection_event(&m->connection, events[i]);
                        return 0;
                }
        return -EBADMSG;
}

static int handle_answer(MockMonitor *m, const char *id, const char *answer) {
        const char *text;
        uint64_t n;
        VmmCall *call;

        if (parse_uint64(id, &n) < 0)
                return -EBADMSG;
        call = vmm_connection_find(&m->connection, n);
        if (!call)
                return 0; /* a former daemon's */
        m->tolerant = false;
        text = startswith(answer, "error ");
        if (text)
                vmm_connection_answer(&m->connection, call, -EREMOTEIO, text);
        else if (call->kind == CALL_HELLO) {
                vmm_connection_cancel(&m->connection, call);
                m->ready = true;
                vmm_connection_event(&m->connection, VMM_EVENT_READY);
        } else if (call->kind == CALL_STATUS && (streq(answer, "paused") || streq(answer, "running")))
                vmm_connection_answer(&m->connection, call, streq(answer, "paused"), NULL);
        else if (call->kind == CALL_COMMAND && streq(answer, "ok"))
                vmm_connection_answer(&m->connection, call, 0, NULL);
        else
                return -EBADMSG;
        return 0;
}

static int parse_line(MockMonitor *m, char *line, size_t n) {
        char *space;

        if (n > MOCK_LINE_MAX || strlen(line) != n || !utf8_is_clean(line, NULL))
                return -EBADMSG;
        if (!m->ready && streq(line, MOCK_GREETING)) {
                m->ready = m->greeted = true;
                vmm_connection_event(&m->connection, VMM_EVENT_READY);
                return 0;
        }
        space = strchr(line, ' ');
        if (!space)
                return -EBADMSG;
        *space = 0;
        return streq(line, "!") ? handle_event(m, space + 1) : handle_answer(m, line, space + 1);
}

static int mock_line(VmmConnection *c, char *line, size_t n) {
        MockMonitor *m = (MockMonitor *) c;
        bool tolerant = m->tolerant;
        int r;

        r = parse_line(m, line, n); /* may have freed m */
        return r < 0 && tolerant ? 0 : r;
}

static int call_with_fd(VmmMonitor *monitor, CallKind kind, const char *command, int fd, vmm_done_t done, void *userdata) {
        VmmConnection *c = (VmmConnection *) monitor;
        char buf[MOCK_LINE_MAX];
        VmmCall *call;
        int n, r;

        r = vmm_connection_call(c, kind, done, userdata, &call);
        if (r < 0)
                return r;
        n = snprintf(buf, sizeof(buf), "%llu %s\n", (unsigned long long) call->id, command);
        r = vmm_connection_send(c, buf, (size_t) n, fd);
        if (r < 0)
                vmm_connection_cancel(c, call);
        return r;
}

static int call(VmmMonitor *monitor, CallKind kind, const char *command, vmm_done_t done, void *userdata) {
        return call_with_fd(monitor, kind, command, -EBADF, done, userdata);
}

static VmmMonitor *mock_monitor_free(VmmMonitor *monitor) {
        if (monitor) {
                vmm_connection_done((VmmConnection *) monitor);
                free(monitor);
        }
        return NULL;
}

static int mock_monitor_new(sd_event *event, int fd, bool adopted, vmm_event_t callback, void *userdata,
                            VmmMonitor **ret) {
        MockMonitor *m;
        int r;

        m = new0(MockMonitor, 1);
        if (!m)
                return -ENOMEM;
        m->tolerant = adopted;
        r = vmm_connection_init(&m->connection, &hypervisor_mock, event, fd, mock_line, callback, userdata);
        if (r < 0) {
                free(m);
                return r;
        }
        /* There is no greeting any more; the first answer says as much. A connection that is broken already shows
         * when the loop reads from it. */
        if (adopted)
                (void) call(&m->connection.monitor, CALL_HELLO, "status", NULL, NULL);
        *ret = &m->connection.monitor;
        return 0;
}

static int mock_pause(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return call(m, CALL_COMMAND, "pause", done, userdata);
}

static int mock_resume(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return call(m, CALL_COMMAND, "resume", done, userdata);
}

static int mock_powerdown(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return call(m, CALL_COMMAND, "powerdown", done, userdata);
}

static int mock_quit(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return call(m, CALL_COMMAND, "quit", done, userdata);
}

static int mock_save(VmmMonitor *m, int fd, vmm_done_t done, void *userdata) {
        return call_with_fd(m, CALL_COMMAND, "save", fd, done, userdata);
}

static int mock_load(VmmMonitor *m, int fd, vmm_done_t done, void *userdata) {
        return call_with_fd(m, CALL_COMMAND, "load", fd, done, userdata);
}

static const char *mock_version(const VmmMonitor *m) {
        return ((const MockMonitor *) m)->greeted ? MOCK_GREETING : NULL;
}

static int mock_query_paused(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return call(m, CALL_STATUS, "status", done, userdata);
}

/* A static program that wants nothing. */
static const VmmSandbox *mock_sandbox(const VmmSpec *spec) {
        static const VmmSandbox sandbox = {};

        return &sandbox;
}

const Hypervisor hypervisor_mock = {
        .name = "mock",
        .sandbox = mock_sandbox,
        .available = mock_available,
        .memory_overhead = mock_memory_overhead,
        .command = mock_command,
        .monitor_new = mock_monitor_new,
        .monitor_free = mock_monitor_free,
        .pause = mock_pause,
        .resume = mock_resume,
        .powerdown = mock_powerdown,
        .quit = mock_quit,
        .save = mock_save,
        .load = mock_load,
        .version = mock_version,
        .query_paused = mock_query_paused,
};
