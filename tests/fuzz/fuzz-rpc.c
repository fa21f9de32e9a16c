/* SPDX-License-Identifier: Apache-2.0 */

/* The body of a request through hero-rpcd: JSON, JSON-RPC, the table of methods, the handlers, and back to an answer, which must be
 * what JSON-RPC 2.0 says. The other end of the bus is in this program too, and answers everything in one of some ways; the replica
 * is made of what it says. Time passes a thousand times faster, for who waits for something.
 *
 * The first byte, less '0', says how: 3 = who asks: 0 an administrator, 1 alice, 2 nobody, 3 carol (and hero-computed is away at
 * first); 4 = the bus answers errors; 8 = jobs fail; 16 = the line socket's names; 32 = whoever asked has left. The rest is the
 * body. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/guests.h"
#include "rpcd/jobs.h"
#include "rpcd/replica.h"
#include "rpcd/rpc.h"
#include "shared/audit.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
        WHO = 3,
        ERRORS = 4,
        JOBS_FAIL = 8,
        LINE = 16,
        LEFT = 32,
};

#define FASTER 1000u
#define TURNS_MAX 10000u
#define END_TIMEOUT (20 * USEC_PER_SEC)

static void failed(int line, const char *what) {
        fprintf(stderr, "line %i: %s does not hold\n", line, what);
        abort();
}

#define check(expression) ((expression) ? (void) 0 : failed(__LINE__, #expression))

static Rpcd rpcd;
static unsigned how;

/* --- Instead of libsystemd's and src/shared's ------------------------------------------------------------------------------- */

int sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock, uint64_t usec, uint64_t accuracy,
                               sd_event_time_handler_t handler, void *userdata) {
        return sd_event_add_time(e, ret, clock, now_usec(clock) + usec / FASTER, 1, handler, userdata);
}

int sd_event_source_set_time_relative(sd_event_source *s, uint64_t usec) {
        return sd_event_source_set_time(s, now_usec(CLOCK_MONOTONIC) + usec / FASTER);
}

void audit_log(const AuditEntry *e) {
        check(e->action && e->road);
}

/* --- The other end of the bus ----------------------------------------------------------------------------------------------- */

static sd_bus *service;
static unsigned n_jobs;

static void append(sd_bus_message *m, const char *types, ...) {
        va_list ap;

        va_start(ap, types);
        check(sd_bus_message_appendv(m, types, ap) >= 0);
        va_end(ap);
}

static sd_bus_message *open_signal(const char *sender, const char *path, const char *interface, const char *member) {
        sd_bus_message *m;

        check(sd_bus_message_new_signal(service, &m, path, interface, member) >= 0);
        check(sd_bus_message_set_sender(m, sender) >= 0);
        return m;
}

static void send_message(sd_bus_message *m) {
        check(sd_bus_send(service, m, NULL) >= 0);
        sd_bus_message_unref(m);
}

static void tell_owner(const char *before, const char *after) {
        sd_bus_message *m = open_signal("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged");

        append(m, "sss", COMPUTE_BUS_NAME, before, after);
        send_message(m);
}

static void add_vm(sd_bus_message *m, const char *path, const char *name, const char *id, const char *user, const char *state) {
        check(sd_bus_message_open_container(m, 'e', "oa{sa{sv}}") >= 0);
        append(m, "oa{sa{sv}}", path, 1, COMPUTE_VM_INTERFACE, 12,
               "Id", "s", id, "Name", "s", name, "User", "s", user, "State", "s", state, "StateReason", "s", "Said \"so\".\n",
               "Image", "s", "alpine:latest", "MyceliumIP", "s", "fd00::1", "IPAddress", "s", "10.0.0.2/24", "CPUs", "u", 2u,
               "Memory", "t", UINT64_C(1) << 30, "Disk", "t", UINT64_C(10) << 30, "CreatedTimestamp", "t", UINT64_C(1736937000000000));
        check(sd_bus_message_close_container(m) >= 0);
}

static void add_vms(sd_bus_message *m) {
        check(sd_bus_message_open_container(m, 'a', "{oa{sa{sv}}}") >= 0);
        add_vm(m, COMPUTE_VM_PREFIX "/alice_2dvm", "alice-vm", "a1b2c3d4e5f6", "alice", "running");
        add_vm(m, COMPUTE_VM_PREFIX "/bob", "bob", "b1b2c3d4e5f6", "bob", "suspended");
        add_vm(m, COMPUTE_VM_PREFIX "/spare", "spare", "c1b2c3d4e5f6", "", "stopped");
        check(sd_bus_message_close_container(m) >= 0);
}

static void add_properties(sd_bus_message *m, const char *interface) {
        if (streq(interface, COMPUTE_JOB_INTERFACE))
                append(m, "a{sv}", 4, "VM", "(so)", "alice-vm", COMPUTE_VM_PREFIX "/alice_2dvm", "Type", "s", "start", "Step", "s", "boot",
                       "Progress", "(tt)", UINT64_C(1), UINT64_C(2));
        else
                append(m, "a{sv}", 4, "Version", "s", "1", "CPUsTotal", "u", 4u, "MemoryTotal", "t", UINT64_C(1) << 34, "Subnet", "s",
                       "fd00::/64");
}

/* A guest's end of a stream, which has said something and is closed. */
static void add_stream(sd_bus_message *m, const char *words) {
        int pair[2];

        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        (void) send(pair[1], words, strlen(words), MSG_NOSIGNAL);
        append(m, "h", pair[0]);
        close(pair[0]);
        close(pair[1]);
}

static void add_control(sd_bus_message *m, const char *words) {
        int pair[2];

        check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        (void) send(pair[1], words, strlen(words), MSG_NOSIGNAL);
        append(m, "h", pair[0]);
        close(pair[0]);
        close(pair[1]);
}

static void add_image(sd_bus_message *m, const char *reference) {
        append(m, "(ssstto)", reference, "sha256:00", "linux/amd64", UINT64_C(1), UINT64_C(1), "/org/hero/Compute/image/x");
}

static void add_images(sd_bus_message *m) {
        check(sd_bus_message_open_container(m, 'a', "(ssstto)") >= 0);
        add_image(m, "alpine:latest");
        add_image(m, "other:1");
        check(sd_bus_message_close_container(m) >= 0);
}

static const struct {
        const char *member, *types; /* o: a VM, when another comes; else a job that ends then */
} members[] = {
        { "CreateVM", "oo" },  { "ProvisionUser", "oo" }, { "DeprovisionUser", "o" }, { "StartUser", "o" }, { "StopUser", "o" },
        { "Start", "o" },      { "Stop", "o" },           { "Restart", "o" },         { "Suspend", "o" },   { "Hibernate", "o" },
        { "Resume", "o" },     { "Delete", "o" },         { "Pull", "o" },            { "Import", "o" },    { "SetResources", "" },
        { "Remove", "" },      { "Cancel", "" },
};

static bool add_answer(sd_bus_message *m, sd_bus_message *call, const char *member) {
        const char *interface = "";

        if (streq(member, "GetManagedObjects"))
                add_vms(m);
        else if (streq(member, "GetAll")) {
                check(sd_bus_message_read(call, "s", &interface) > 0);
                add_properties(m, interface);
        } else if (streq(member, "EventsSince"))
                append(m, "a(ttssss)tt", 2, UINT64_C(1), UINT64_C(1000000), "alice-vm", "starting", "running", "", UINT64_C(2),
                       UINT64_C(2000000), "gone", "running", "stopped", "Said \"so\".", UINT64_C(2), UINT64_C(7));
        else if (streq(member, "Wait"))
                append(m, "ssb", "running", "", (int) (how & JOBS_FAIL ? 1 : 0));
        else if (streq(member, "Exec")) {
                add_stream(m, "out\xff\n");
                add_stream(m, "");
                add_control(m, how & JOBS_FAIL ? "signal 9" : "exit 3");
        } else if (streq(member, "Logs"))
                add_stream(m, "\xa9 Linux\n\x1b[0m\xe2\x82\xac\n");
        else if (streq(member, "OpenConsole"))
                add_stream(m, "login: ");
        else if (streq(member, "List"))
                add_images(m);
        else if (streq(member, "Query"))
                append(m, "stasa(tad)", "a1b2c3d4e5f6", UINT64_C(5000000), 2, "cpu_percent", "memory_bytes", 1, UINT64_C(1736937000000000), 2,
                       1.5, how & JOBS_FAIL ? 1e300 : 4096.0);
        else
                return false;
        return true;
}

static void end_job(unsigned id, const char *path, bool image) {
        const char *result = how & JOBS_FAIL ? id % 3 == 0 ? "canceled" : ERROR_AGENT_TIMEOUT : "done";
        sd_bus_message *m = open_signal(image ? IMAGES_BUS_NAME : COMPUTE_BUS_NAME, image ? IMAGES_OBJECT : COMPUTE_OBJECT,
                                        image ? IMAGES_INTERFACE : COMPUTE_MANAGER_INTERFACE, "JobRemoved");

        append(m, "uosss", id, path, image ? "alpine:latest" : "alice-vm", result, "Said \"so\".");
        if (image)
                append(m, "s", streq(result, "done") ? "sha256:00" : "");
        send_message(m);
}

static void answer_job(sd_bus_message *m, const char *types, const char *interface) {
        bool image = streq(interface, IMAGES_INTERFACE);
        _cleanup_free_ char *path = strprintf("%s/%u", image ? "/org/hero/Compute/Images/job" : COMPUTE_JOB_PREFIX, ++n_jobs);

        check(path);
        if (streq(types, "oo"))
                append(m, "o", COMPUTE_VM_PREFIX "/alice_2dvm");
        append(m, "o", n_jobs % 8 == 0 && !image ? "/" : path); /* "/": there was nothing to do */
        send_message(m);
        end_job(n_jobs, path, image);
}

static void answer(sd_bus_message *call) {
        const char *member = sd_bus_message_get_member(call), *interface = sd_bus_message_get_interface(call);
        sd_bus_message *m;

        if (how & ERRORS && !streq(member, "GetManagedObjects")) {
                check(sd_bus_reply_method_errorf(call, ERROR_WRONG_STATE, "VM 'x' is \"stopped\":\t\xc3\xa9.") >= 0);
                return;
        }
        check(sd_bus_message_new_method_return(call, &m) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (streq(members[i].member, member)) {
                        if (members[i].types[0])
                                answer_job(m, members[i].types, interface);
                        else
                                send_message(m);
                        return;
                }
        if (!add_answer(m, call, member))
                failed(__LINE__, member);
        send_message(m);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        uint8_t type;

        check(sd_bus_message_get_type(m, &type) >= 0);
        if (type == SD_BUS_MESSAGE_METHOD_CALL)
                answer(m);
        return 1;
}

/* --- What it must answer ---------------------------------------------------------------------------------------------------- */

static unsigned depth_of(json_t *v) {
        unsigned deepest = 0, depth;
        const char *key;
        json_t *e;
        size_t i;

        json_array_foreach(v, i, e) {
                depth = depth_of(e);
                deepest = MAX2(deepest, depth);
        }
        json_object_foreach(v, key, e) {
                depth = depth_of(e);
                deepest = MAX2(deepest, depth);
        }
        return json_is_array(v) || json_is_object(v) ? deepest + 1 : 0;
}

static bool id_is_valid(const json_t *id) {
        return !id || json_is_string(id) || json_is_number(id) || json_is_null(id);
}

static bool request_is_valid(const json_t *v) {
        const char *version = json_string_value(json_object_get(v, "jsonrpc"));
        const json_t *params = json_object_get(v, "params");

        return version && streq(version, "2.0") && json_is_string(json_object_get(v, "method")) &&
                id_is_valid(json_object_get(v, "id")) && (!params || json_is_object(params) || json_is_array(params));
}

/* code: 0 for any. id NULL: null. */
static void check_answer(const json_t *v, const json_t *id, int code) {
        const json_t *error = json_object_get(v, "error"), *result = json_object_get(v, "result"), *its = json_object_get(v, "id");
        const char *version = json_string_value(json_object_get(v, "jsonrpc"));

        check(json_is_object(v) && version && streq(version, "2.0"));
        check(!error != !result && json_object_size(v) == 3);
        check(id ? json_equal(id, its) : json_is_null(its));
        if (error) {
                check(json_is_integer(json_object_get(error, "code")) && json_is_string(json_object_get(error, "message")));
                check(json_is_string(json_object_get(json_object_get(error, "data"), "name")));
        }
        check(code == 0 || json_integer_value(json_object_get(error, "code")) == code);
}

/* True: v is answered, by a. */
static bool check_request(const json_t *v, const json_t *a) {
        const json_t *id = json_object_get(v, "id");

        if (!request_is_valid(v)) {
                check_answer(a, id_is_valid(id) ? id : NULL, RPC_INVALID_REQUEST);
                return true;
        }
        if (id)
                check_answer(a, id, 0);
        return id;
}

static void check_batch(const json_t *requests, const json_t *answers) {
        size_t i, n = 0;
        json_t *v;

        check(!answers || json_is_array(answers));
        json_array_foreach(requests, i, v)
                n += check_request(v, json_array_get(answers, n));
        check(n == json_array_size(answers) && (n > 0) == !!answers);
}

static void check_answers(const char *body, size_t size, const char *text, size_t text_size) {
        json_t *v = json_loadb(body, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL),
               *a = text ? json_loadb(text, text_size, JSON_REJECT_DUPLICATES, NULL) : NULL;

        check(!text == !a); /* what is answered is JSON, and UTF-8 with it */
        if (!v || depth_of(v) > RPC_DEPTH_MAX)
                check_answer(a, NULL, RPC_PARSE_ERROR);
        else if (json_is_array(v) && (json_array_size(v) == 0 || json_array_size(v) > RPC_BATCH_MAX))
                check_answer(a, NULL, RPC_INVALID_REQUEST);
        else if (json_is_array(v))
                check_batch(v, a);
        else
                check(check_request(v, a) == !!a);
        json_decref(v);
        json_decref(a);
}

/* --- From one input to its end ---------------------------------------------------------------------------------------------- */

typedef struct Answer {
        char *text;
        size_t size;
        unsigned n;
} Answer;

static void on_done(char *response, size_t size, void *userdata) {
        Answer *a = userdata;

        a->text = response;
        a->size = size;
        a->n++;
}

/* Until nothing is left to be done at once. */
static void turn(void) {
        for (unsigned i = 0; i < TURNS_MAX && sd_event_run(rpcd.event, 0) > 0; i++)
                ;
}

static void sync_replica(bool there) {
        unsigned kept = how;

        how = 0;
        tell_owner(replica_is_ready(rpcd.replica) ? ":1.1" : "", there ? ":1.1" : "");
        for (unsigned i = 0; i < TURNS_MAX && replica_is_ready(rpcd.replica) != there; i++)
                (void) sd_event_run(rpcd.event, 100 * USEC_PER_MSEC);
        check(replica_is_ready(rpcd.replica) == there);
        how = kept;
}

/* What still waits then is told that nothing is there any more. A request that is not over has its caller. */
static void wait_for_end(const Caller *c) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + END_TIMEOUT;

        turn();
        if (c->n_ref == 1)
                return;
        how |= ERRORS;
        sync_replica(false);
        sync_replica(true);
        turn();
        while (c->n_ref > 1 && now_usec(CLOCK_MONOTONIC) < end)
                (void) sd_event_run(rpcd.event, 100 * USEC_PER_MSEC);
        check(c->n_ref == 1);
}

static void remove_directory(void) {
        const char *directory = getenv("RUNTIME_DIRECTORY");
        _cleanup_free_ char *console = strprintf("%s/console", directory);

        guests_free(rpcd.guests);
        replica_free(rpcd.replica);
        jobs_free(rpcd.jobs);
        sd_bus_close_unref(rpcd.bus);
        sd_bus_close_unref(service);
        sd_event_unref(rpcd.event);
        (void) rmdir(console);
        (void) rmdir(directory);
}

static int set_up(void) {
        static char directory[] = "/tmp/fuzz-rpc.XXXXXX";
        sd_id128_t id = {};
        sigset_t signals;
        int pair[2];

        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        check(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
        log_set_max_level(LOG_EMERG);
        check(mkdtemp(directory) && setenv("RUNTIME_DIRECTORY", directory, true) == 0); /* for consoles */
        check(setenv("HERO_BIN_DIR", directory, true) == 0); /* the journal is not ours to read */
        check(error_names_register() >= 0);
        check(sd_event_new(&rpcd.event) >= 0);
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        check(sd_bus_new(&service) >= 0 && sd_bus_set_fd(service, pair[1], pair[1]) >= 0);
        check(sd_bus_set_server(service, true, id) >= 0 && sd_bus_set_anonymous(service, true) >= 0);
        check(sd_bus_add_filter(service, NULL, on_message, NULL) >= 0);
        check(sd_bus_start(service) >= 0 && sd_bus_attach_event(service, rpcd.event, 0) >= 0);
        check(sd_bus_new(&rpcd.bus) >= 0 && sd_bus_set_fd(rpcd.bus, pair[0], pair[0]) >= 0);
        check(sd_bus_start(rpcd.bus) >= 0 && sd_bus_attach_event(rpcd.bus, rpcd.event, 0) >= 0);
        check(jobs_new(&rpcd, &rpcd.jobs) == 0 && replica_new(&rpcd, &rpcd.replica) == 0);
        check(guests_new(&rpcd, &rpcd.guests) == 0);
        rpcd.started = now_usec(CLOCK_REALTIME);
        sync_replica(true);
        return atexit(remove_directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static Caller callers[] = {
                { .n_ref = 1, .admin = true },
                { .n_ref = 1, .uid = 1000, .user = (char *) "alice" },
                { .n_ref = 1, .uid = UID_INVALID },
                { .n_ref = 1, .uid = 1001, .user = (char *) "carol", .subject = (char *) "carol@example.org" },
        };
        const char *body = (const char *) data + 1;
        bool left = false;
        Caller *caller;
        RpcRequest *q;
        Answer a = {};

        if (!rpcd.event)
                check(set_up() == 0);
        if (size == 0)
                return 0;
        how = (unsigned) (data[0] - '0') & 63;
        caller = callers + (how & WHO);
        size--;
        if ((how & WHO) == 3)
                sync_replica(false);
        check(rpc_handle(&rpcd, caller, how & LINE ? "line" : "http", how & LINE ? "compute." : "", body, size, on_done, &a, &q) == 0);
        check(!q == (a.n == 1));
        if (how & LEFT && q) {
                rpc_request_abandon(q);
                left = true;
        }
        turn();
        if (!replica_is_ready(rpcd.replica))
                sync_replica(true);
        wait_for_end(caller);
        check(a.n == (left ? 0 : 1));
        if (!left)
                check_answers(body, size, a.text, a.size);
        free(a.text);
        return 0;
}
