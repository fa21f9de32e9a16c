/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/vm-status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/log-tail.h"
#include "ctl/sanitize.h"
#include "ctl/sleep-text.h"
#include "ctl/table.h"

#define TRANSITIONS_SHOWN 5u
#define CONSOLE_BYTES 4096u /* enough for the lines that are shown, cheap to ask for */

unsigned arg_status_lines = 10;

typedef struct VMStatus {
        char *id, *name, *user, *image, *digest, *hypervisor, *accelerator, *state, *reason, *unit, *job,
                *exit_reason, *tap, *mycelium_ip, *ip, *awake_reason;
        uint32_t cpus, pid, uid;
        uint64_t memory, disk, created, started, stopped, activity;
        uint64_t phases[5];
        uint64_t since; /* of the state: the last transition's time */
        uint64_t receive_max, transmit_max;                                           /* UINT64_MAX: none */
        uint64_t idle_timeout, hibernate_delay, idle_since, sleep_at, held_until, kept_memory; /* see sleep-text.h */
        bool agent, transient;
        int32_t exit_code;
} VMStatus;

static void vm_status_done(VMStatus *s) {
        char *strings[] = { s->id,          s->name,  s->user,   s->image, s->digest, s->hypervisor,
                            s->accelerator, s->state, s->reason, s->unit,  s->job,   s->exit_reason,
                            s->tap,         s->mycelium_ip, s->ip, s->awake_reason };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                free(strings[i]);
}

static const PropertyMap properties[] = {
        { "Id", "s", offsetof(VMStatus, id) },
        { "Name", "s", offsetof(VMStatus, name) },
        { "User", "s", offsetof(VMStatus, user) },
        { "Image", "s", offsetof(VMStatus, image) },
        { "ImageDigest", "s", offsetof(VMStatus, digest) },
        { "Hypervisor", "s", offsetof(VMStatus, hypervisor) },
        { "Accelerator", "s", offsetof(VMStatus, accelerator) },
        { "CPUs", "u", offsetof(VMStatus, cpus) },
        { "Memory", "t", offsetof(VMStatus, memory) },
        { "Disk", "t", offsetof(VMStatus, disk) },
        { "State", "s", offsetof(VMStatus, state) },
        { "StateReason", "s", offsetof(VMStatus, reason) },
        { "AgentReady", "b", offsetof(VMStatus, agent) },
        { "Transient", "b", offsetof(VMStatus, transient) },
        { "Unit", "s", offsetof(VMStatus, unit) },
        { "PID", "u", offsetof(VMStatus, pid) },
        { "UID", "u", offsetof(VMStatus, uid) },
        { "CreatedTimestamp", "t", offsetof(VMStatus, created) },
        { "StartedTimestamp", "t", offsetof(VMStatus, started) },
        { "StoppedTimestamp", "t", offsetof(VMStatus, stopped) },
        { "LastActivityTimestamp", "t", offsetof(VMStatus, activity) },
        { "StartPhases", "(ttttt)", offsetof(VMStatus, phases) },
        { "ExitCode", "i", offsetof(VMStatus, exit_code) },
        { "ExitReason", "s", offsetof(VMStatus, exit_reason) },
        { "Job", "o", offsetof(VMStatus, job) },
        { "TAPDevice", "s", offsetof(VMStatus, tap) },
        { "MyceliumIP", "s", offsetof(VMStatus, mycelium_ip) },
        { "IPAddress", "s", offsetof(VMStatus, ip) },
        { "NetworkReceiveMax", "t", offsetof(VMStatus, receive_max) },
        { "NetworkTransmitMax", "t", offsetof(VMStatus, transmit_max) },
        { "IdleTimeoutUSec", "t", offsetof(VMStatus, idle_timeout) },
        { "HibernateDelayUSec", "t", offsetof(VMStatus, hibernate_delay) },
        { "AwakeReason", "s", offsetof(VMStatus, awake_reason) },
        { "IdleSinceTimestamp", "t", offsetof(VMStatus, idle_since) },
        { "SleepTimestamp", "t", offsetof(VMStatus, sleep_at) },
        { "HeldUntilTimestamp", "t", offsetof(VMStatus, held_until) },
        { "KeptMemory", "t", offsetof(VMStatus, kept_memory) },
        {},
};

static bool is_running(const VMStatus *s) {
        return streq(strempty(s->state), "running");
}

static const char *state_color(const char *state) {
        if (!isatty(STDOUT_FILENO) || getenv("NO_COLOR"))
                return NULL;
        if (streq(state, "running"))
                return "\033[1;32m";
        if (streq(state, "failed") || streq(state, "start-failed"))
                return "\033[1;31m";
        return NULL;
}

/* Everything in here may come from a guest, an image or a record: cleaned before it goes to a terminal. */
static void field(const char *label, const char *format, ...) _printf_(2, 3);
static void field(const char *label, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *clean = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (text)
                clean = sanitize_line(text);
        printf("%11s: %s\n", label, strempty(clean));
}

static void print_state(const VMStatus *s) {
        char local[LOCAL_TIME_MAX], span[FORMAT_TIMESPAN_MAX];
        _cleanup_free_ char *reason = NULL;
        const char *color = state_color(s->state);
        uint64_t now = now_usec(CLOCK_REALTIME);

        reason = sanitize_line(strempty(s->reason));
        printf("%11s: %s%s%s", "State", strempty(color), s->state, color ? "\033[0m" : "");
        if (s->since > 0)
                printf(" since %s; %s ago", format_local_time(local, s->since),
                       format_timespan(span, now > s->since ? now - s->since : 0));
        putchar('\n');
        if (!isempty(reason))
                field("Reason", "%s", reason);
}

static void print_phases(const VMStatus *s) {
        static const char *const names[] = { "scope", "VMM", "monitor", "kernel", "agent" };
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        FILE *f;

        f = open_memstream(&text, &n);
        if (!f)
                return;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (s->phases[i] > 0) {
                        char span[FORMAT_TIMESPAN_MAX];

                        fprintf(f, "%s%s +%s", ftell(f) > 0 ? ", " : "", names[i], format_timespan(span, s->phases[i]));
                }
        fclose(f);
        if (n > 0)
                field("Last start", "%s", text);
}

/* How its last run ended; the words are the service's (org.hero.Compute(5)). */
static void print_exit(const VMStatus *s) {
        static const struct {
                const char *reason, *text;
        } table[] = {
                { "exited", "its command ended" },
                { "signaled", "its command was killed" },
                { "not-executed", "its command could not be executed" },
                { "boot-failed", "the guest could not boot" },
                { "start-failed", "it could not be started" },
                { "shutdown", "the guest shut down" },
                { "stopped", "it was stopped" },
                { "killed", "it was stopped by force" },
                { "oom", "out of memory: the VMM reached its limit" },
                { "vmm-failed", "the VMM failed" },
                { "lost", "it ended while nobody looked" },
        };
        const char *text = s->exit_reason, *name;

        if (isempty(text))
                return;
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].reason, text)) {
                        text = table[i].text;
                        break;
                }
        name = streq(s->exit_reason, "signaled") ? sigabbrev_np(s->exit_code - 128) : NULL;
        if (name)
                field("Last run", "%s by SIG%s, exit code %" PRIi32, text, name, s->exit_code);
        else if (s->exit_code >= 0)
                field("Last run", "%s, exit code %" PRIi32, text, s->exit_code);
        else
                field("Last run", "%s", text);
}

static void print_rates(const VMStatus *s) {
        char receive[FORMAT_BYTES_MAX], transmit[FORMAT_BYTES_MAX];
        bool receives = s->receive_max != UINT64_MAX, transmits = s->transmit_max != UINT64_MAX;

        if (!receives && !transmits)
                return;
        field("Rates", "%s%s%s%s%s%s", receives ? "receives at most " : "",
              receives ? format_bytes(receive, s->receive_max) : "", receives && transmits ? "/s, " : "",
              transmits ? "sends at most " : "", transmits ? format_bytes(transmit, s->transmit_max) : "", "/s");
}

static void print_network(const VMStatus *s) {
        if (isempty(s->tap) && isempty(s->mycelium_ip) && isempty(s->ip))
                return;
        field("Network", "%s", isempty(s->tap) ? "not connected" : s->tap);
        if (!isempty(s->mycelium_ip) || !isempty(s->ip))
                field("Addresses", "%s%s%s", strempty(s->mycelium_ip), isempty(s->mycelium_ip) || isempty(s->ip) ? "" : ", ",
                      strempty(s->ip));
        print_rates(s);
}

/* Nothing from a service that knows no sleep. */
static int print_sleep(const VMStatus *s) {
        const SleepStatus sleep = {
                .state = s->state,
                .awake_reason = s->awake_reason,
                .since = s->since,
                .idle_since = s->idle_since,
                .sleep_at = s->sleep_at,
                .held_until = s->held_until,
                .idle_timeout = s->idle_timeout,
                .hibernate_delay = s->hibernate_delay,
                .kept = s->kept_memory,
                .has_address = !isempty(s->mycelium_ip) || !isempty(s->ip),
        };
        _cleanup_free_ char *text = NULL, *policy = NULL;
        const char *label;
        int r;

        if (s->idle_timeout == 0)
                return 0;
        r = sleep_describe(&sleep, now_usec(CLOCK_REALTIME), &label, &text);
        if (r < 0)
                return r;
        if (r > 0)
                field(label, "%s", text);
        policy = sleep_policy_describe(&sleep);
        if (!policy)
                return -ENOMEM;
        field("When idle", "%s", policy);
        return 0;
}

static int print_fields(const VMStatus *s) {
        char memory[FORMAT_BYTES_MAX], disk[FORMAT_BYTES_MAX], local[LOCAL_TIME_MAX];
        int r;

        if (!isempty(s->user))
                field("User", "%s", s->user);
        print_state(s);
        r = print_sleep(s);
        if (r < 0)
                return r;
        if (!isempty(s->job) && !streq(s->job, "/"))
                field("Job", "%s", s->job);
        field("Unit", "%s", strempty(s->unit));
        if (s->pid > 0)
                field("Main PID", "%" PRIu32 " (uid %" PRIu32 ")", s->pid, s->uid);
        field("Image", "%s%s%s%s", strempty(s->image), isempty(s->digest) ? "" : " (", strempty(s->digest),
              isempty(s->digest) ? "" : ")");
        field("Hypervisor", "%s%s%s", strempty(s->hypervisor), isempty(s->accelerator) ? "" : ", ",
              strempty(s->accelerator));
        field("Resources", "%" PRIu32 " CPU%s, %s memory, %s disk", s->cpus, s->cpus == 1 ? "" : "s",
              format_bytes(memory, s->memory), format_bytes(disk, s->disk));
        print_network(s);
        if (s->transient)
                field("Transient", "yes: deleted when it has ended");
        if (is_running(s))
                field("Agent", "%s", s->agent ? "ready" : "not ready: commands cannot be run in the guest");
        print_phases(s);
        if (s->created > 0)
                field("Created", "%s", format_local_time(local, s->created));
        print_exit(s);
        return 0;
}

/* Asks for the transitions and looks at the last one; the reply is kept for printing them. */
static int get_transitions(sd_bus *bus, const char *path, VMStatus *s, sd_bus_message **ret, size_t *ret_n,
                           sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        size_t n = 0;
        int r;

        r = vm_call(bus, path, "GetTransitions", error, &reply, NULL);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'a', "(ttsss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(ttsss)", NULL, &s->since, NULL, NULL, NULL)) > 0)
                n++;
        if (r < 0)
                return r;
        r = sd_bus_message_rewind(reply, true);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(reply);
        *ret_n = n;
        return 0;
}

static int print_transitions(sd_bus_message *m, size_t n) {
        const char *from, *to, *reason;
        uint64_t time;
        size_t i = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ttsss)");
        if (r < 0)
                return r;
        if (n > 0)
                putchar('\n');
        while ((r = sd_bus_message_read(m, "(ttsss)", NULL, &time, &from, &to, &reason)) > 0) {
                _cleanup_free_ char *clean = NULL;
                char local[LOCAL_TIME_MAX];

                if (i++ + TRANSITIONS_SHOWN < n)
                        continue;
                clean = sanitize_line(reason);
                printf("%s %s → %s: %s\n", format_local_time(local, time), from, to, strna(clean));
        }
        return r;
}

static int print_console(sd_bus *bus, const char *path, sd_bus_error *error) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t n, begin;
        int r;

        if (arg_status_lines == 0)
                return 0;
        r = log_open(bus, path, MAX2(CONSOLE_BYTES, arg_status_lines * 128u), false, &fd, error);
        if (r >= 0)
                r = log_read_tail(fd, 1024 * 1024, &text, &n);
        if (r < 0)
                return r;
        begin = tail_offset(text, n, arg_status_lines);
        if (begin == n)
                return 0;
        putchar('\n');
        for (char *line = text + begin, *next; line && *line; line = next) {
                _cleanup_free_ char *clean = NULL;

                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                line[strcspn(line, "\r")] = 0;
                clean = sanitize_line(line);
                printf("| %s\n", strna(clean));
        }
        return 0;
}

static int print_json(const VMStatus *s) {
        static const Column columns[] = {
                { NULL, "id", COLUMN_STRING },           { NULL, "name", COLUMN_STRING },
                { NULL, "user", COLUMN_STRING },         { NULL, "state", COLUMN_STRING },
                { NULL, "reason", COLUMN_STRING },       { NULL, "since", COLUMN_TIME },
                { NULL, "agent-ready", COLUMN_BOOLEAN },
                { NULL, "unit", COLUMN_STRING },         { NULL, "pid", COLUMN_NUMBER },
                { NULL, "uid", COLUMN_NUMBER },          { NULL, "image", COLUMN_STRING },
                { NULL, "image-digest", COLUMN_STRING }, { NULL, "hypervisor", COLUMN_STRING },
                { NULL, "accelerator", COLUMN_STRING },  { NULL, "cpus", COLUMN_NUMBER },
                { NULL, "memory", COLUMN_BYTES },        { NULL, "disk", COLUMN_BYTES },
                { NULL, "created", COLUMN_TIME },        { NULL, "started", COLUMN_TIME },
                { NULL, "stopped", COLUMN_TIME },        { NULL, "last-activity", COLUMN_TIME },
                { NULL, "scope-usec", COLUMN_TIMESPAN }, { NULL, "vmm-usec", COLUMN_TIMESPAN },
                { NULL, "monitor-usec", COLUMN_TIMESPAN }, { NULL, "kernel-usec", COLUMN_TIMESPAN },
                { NULL, "agent-usec", COLUMN_TIMESPAN }, { NULL, "exit-code", COLUMN_SIGNED },
                { NULL, "exit-reason", COLUMN_STRING },  { NULL, "job", COLUMN_STRING },
                { NULL, "transient", COLUMN_BOOLEAN },   { NULL, "tap-device", COLUMN_STRING },
                { NULL, "mycelium-ip", COLUMN_STRING },  { NULL, "ip-address", COLUMN_STRING },
                { NULL, "network-receive-max", COLUMN_LIMIT }, { NULL, "network-transmit-max", COLUMN_LIMIT },
                { NULL, "idle-timeout-usec", COLUMN_LIMIT }, { NULL, "hibernate-delay-usec", COLUMN_LIMIT },
                { NULL, "awake-reason", COLUMN_STRING }, { NULL, "idle-since", COLUMN_TIME },
                { NULL, "sleeps", COLUMN_TIME },         { NULL, "held-until", COLUMN_TIME },
                { NULL, "kept-memory", COLUMN_BYTES },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r < 0)
                return r;
        r = table_add(t, s->id, s->name, s->user, s->state, s->reason, s->since, (int) s->agent, s->unit, (uint64_t) s->pid,
                      (uint64_t) s->uid, s->image, s->digest, s->hypervisor, s->accelerator, (uint64_t) s->cpus, s->memory,
                      s->disk, s->created, s->started, s->stopped, s->activity, s->phases[0], s->phases[1], s->phases[2],
                      s->phases[3], s->phases[4], (int64_t) s->exit_code, s->exit_reason,
                      streq_ptr(s->job, "/") ? NULL : s->job, (int) s->transient, s->tap, s->mycelium_ip, s->ip, s->receive_max,
                      s->transmit_max, s->idle_timeout, s->hibernate_delay, s->awake_reason, s->idle_since,
                      s->sleep_at == UINT64_MAX ? 0 : s->sleep_at, s->held_until, s->kept_memory);
        return r < 0 ? r : table_print_object(t);
}

int vm_status_print(sd_bus *bus, const char *path, bool *ret_running, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *transitions = NULL;
        _cleanup_(vm_status_done) VMStatus s = { .exit_code = -1, .receive_max = UINT64_MAX, .transmit_max = UINT64_MAX };
        size_t n;
        int r;

        r = bus_get_properties(bus, path, HERO_VM, properties, &s, error);
        if (r < 0)
                return r;
        if (!s.name || !s.state)
                return -EBADMSG;
        r = get_transitions(bus, path, &s, &transitions, &n, error);
        if (r < 0)
                return r;
        *ret_running = is_running(&s);
        if (arg_json != JSON_OFF)
                return print_json(&s);
        printf("%s - %s\n", s.name, strna(s.id));
        r = print_fields(&s);
        if (r >= 0)
                r = print_transitions(transitions, n);
        if (r < 0)
                return r;
        r = print_console(bus, path, error);
        /* The console takes more rights than the rest, and a status without it is still one. */
        if (r < 0) {
                sd_bus_error_free(error);
                printf("\n(The console's log cannot be read here.)\n");
        }
        return 0;
}
