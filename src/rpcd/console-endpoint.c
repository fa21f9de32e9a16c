/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/console-endpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/auth.h"
#include "rpcd/call-util.h"
#include "rpcd/guests.h"
#include "rpcd/relay.h"
#include "shared/audit.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define ENDPOINTS_MAX 1024u
#define CONNECTIONS_MAX 256u
#define CONNECTIONS_VM_MAX 16u
#define BACKLOG 16
#define KEPT_FOR (10 * 60 * USEC_PER_SEC)
/* From the connection to the console: who asks must be known, and a sleeping VM be woken. */
#define OPEN_TIMEOUT (60 * USEC_PER_SEC)

typedef struct Endpoint Endpoint;

typedef struct Connection {
        TAILQ_ENTRY(Connection) connections;
        Endpoint *endpoint;
        int client;
        Peer *peer;
        AuthQuery *query;
        Caller *caller;
        sd_bus_slot *slot;
        sd_event_source *timer;
        Relay *relay;
        uint64_t begun;
} Connection;

struct Endpoint {
        TAILQ_ENTRY(Endpoint) endpoints;
        Consoles *consoles;
        char *vm_path, *vm_name, *file; /* file: below directory */
        char *path;
        int fd;
        sd_event_source *source, *timer;
        TAILQ_HEAD(, Connection) connections;
        unsigned n_connections;
};

struct Consoles {
        Rpcd *rpcd;
        Feed *feed;
        FeedListener listener;
        char *directory;
        int directory_fd;
        TAILQ_HEAD(, Endpoint) endpoints;
        unsigned n_endpoints, n_connections;
};

static void keep(Endpoint *e) {
        (void) sd_event_source_set_time_relative(e->timer, KEPT_FOR);
        (void) sd_event_source_set_enabled(e->timer, e->n_connections > 0 ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static Connection *connection_free(Connection *c) {
        Endpoint *e = c->endpoint;

        TAILQ_REMOVE(&e->connections, c, connections);
        e->n_connections--;
        e->consoles->n_connections--;
        if (c->query)
                auth_query_cancel(c->query);
        peer_free(c->peer);
        caller_unref(c->caller);
        sd_bus_slot_unref(c->slot);
        sd_event_source_disable_unref(c->timer);
        relay_free(c->relay);
        safe_close(c->client);
        if (e->timer)
                keep(e);
        return mfree(c);
}

static Endpoint *endpoint_free(Endpoint *e) {
        Consoles *s = e->consoles;

        e->timer = sd_event_source_disable_unref(e->timer);
        e->source = sd_event_source_disable_unref(e->source);
        if (e->fd >= 0) { /* first, so that nobody finds it who was just thrown out */
                (void) unlinkat(s->directory_fd, e->file, 0);
                safe_close(e->fd);
        }
        while (!TAILQ_EMPTY(&e->connections))
                connection_free(TAILQ_FIRST(&e->connections));
        TAILQ_REMOVE(&s->endpoints, e, endpoints);
        s->n_endpoints--;
        free(e->vm_path);
        free(e->vm_name);
        free(e->file);
        free(e->path);
        return mfree(e);
}

/* One entry for each console that was opened, or refused: a reason, or NULL. */
static void audit(const Connection *c, const char *error, const char *text) {
        const ReplicaVm *vm = replica_find_path(c->endpoint->consoles->rpcd->replica, c->endpoint->vm_path);

        audit_log(&(AuditEntry){ .road = "console",
                                 .uid = c->caller ? c->caller->uid : UID_INVALID,
                                 .subject = c->caller ? c->caller->subject ?: c->caller->user : NULL,
                                 .action = "vm.console",
                                 .vm = c->endpoint->vm_name,
                                 .user = vm ? vm->user : NULL,
                                 .error = error,
                                 .text = text,
                                 .duration = now_usec(CLOCK_MONOTONIC) - c->begun });
}

static void refuse(Connection *c, const char *error, const char *text) {
        audit(c, error, text);
        connection_free(c);
}

static void on_relayed(Relay *r, void *userdata) {
        connection_free(userdata);
}

static int on_console(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Connection *c = userdata;
        int fd, r;

        c->slot = sd_bus_slot_unref(c->slot);
        if (e) {
                refuse(c, e->name, e->message);
                return 0;
        }
        r = sd_bus_message_read(reply, "h", &fd);
        if (r >= 0) {
                fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                r = fd < 0 ? negative_errno() :
                             relay_new(c->endpoint->consoles->rpcd->event, TAKE_FD(c->client), fd, on_relayed, c, &c->relay);
        }
        if (r < 0) {
                refuse(c, error_name_from_errno(r), strerror(-r));
                return 0;
        }
        audit(c, NULL, NULL);
        c->timer = sd_event_source_disable_unref(c->timer);
        return 0;
}

/* Who it is, is known. */
static void connection_open(Connection *c) {
        Consoles *s = c->endpoint->consoles;
        const ReplicaVm *vm = replica_find_path(s->rpcd->replica, c->endpoint->vm_path);
        int r;

        if (!vm) {
                refuse(c, ERROR_NO_SUCH_VM, "The VM was deleted.");
                return;
        }
        if (!caller_may_vm(c->caller, vm)) {
                refuse(c, SD_BUS_ERROR_ACCESS_DENIED, "It is somebody else's VM.");
                return;
        }
        r = bus_call_async(s->rpcd->bus, &c->slot, COMPUTE_BUS_NAME, vm->path, COMPUTE_VM_INTERFACE, "OpenConsole", on_console, c,
                           "t", UINT64_C(1));
        if (r < 0)
                refuse(c, error_name_from_errno(r), strerror(-r));
}

static void on_identified(int error, const char *why, Caller *caller, void *userdata) {
        Connection *c = userdata;

        c->query = NULL;
        if (error < 0) {
                refuse(c, SD_BUS_ERROR_ACCESS_DENIED, why);
                return;
        }
        c->caller = caller_ref(caller);
        connection_open(c);
}

static int on_open_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        refuse(userdata, SD_BUS_ERROR_TIMEOUT, "The console could not be opened in time.");
        return 0;
}

static int connection_identify(Connection *c) {
        Rpcd *d = c->endpoint->consoles->rpcd;
        const char *why = NULL;
        int r;

        r = sd_event_add_time_relative(d->event, &c->timer, CLOCK_MONOTONIC, OPEN_TIMEOUT, 0, on_open_timeout, c);
        if (r >= 0)
                r = peer_new(d->auth, c->client, &c->peer);
        if (r >= 0)
                r = auth_identify(d->auth, c->peer, NULL, on_identified, c, &c->query, &c->caller, &why);
        if (r < 0)
                refuse(c, SD_BUS_ERROR_ACCESS_DENIED, why ?: strerror(-r));
        else if (r > 0)
                connection_open(c);
        return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Endpoint *e = userdata;
        Consoles *s = e->consoles;
        Connection *c;
        int client;

        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client < 0)
                return 0;
        c = e->n_connections < CONNECTIONS_VM_MAX && s->n_connections < CONNECTIONS_MAX ? new0(Connection, 1) : NULL;
        if (!c) {
                log_debug("Too many connections to consoles, one to that of VM '%s' was closed.", e->vm_name);
                safe_close(client);
                return 0;
        }
        *c = (Connection){ .endpoint = e, .client = client, .begun = now_usec(CLOCK_MONOTONIC) };
        TAILQ_INSERT_TAIL(&e->connections, c, connections);
        e->n_connections++;
        s->n_connections++;
        keep(e);
        return connection_identify(c);
}

static int on_unused(sd_event_source *source, uint64_t usec, void *userdata) {
        endpoint_free(userdata);
        return 0;
}

static void on_vm_removed(const char *vm_path, void *userdata) {
        Consoles *s = userdata;
        Endpoint *e;

        TAILQ_FOREACH(e, &s->endpoints, endpoints)
                if (streq(e->vm_path, vm_path)) {
                        endpoint_free(e);
                        return;
                }
}

static void remove_stale(int directory_fd) {
        _cleanup_closedir_ DIR *d = NULL;
        struct dirent *i;

        if (open_directory_stream(directory_fd, ".", &d) < 0)
                return;
        while ((i = readdir(d)))
                if (i->d_type == DT_SOCK)
                        (void) unlinkat(directory_fd, i->d_name, 0);
}

/* When the first is asked for: hero-rpcd without $RUNTIME_DIRECTORY works but for consoles. */
static int open_directory(Consoles *s) {
        const char *runtime = getenv("RUNTIME_DIRECTORY");
        _cleanup_free_ char *directory = NULL;
        int fd, r;

        if (s->directory_fd >= 0)
                return 0;
        directory = strprintf("%s/console", isempty(runtime) ? "/run/hero-rpcd" : runtime);
        if (!directory)
                return -ENOMEM;
        fd = open_directory_at(AT_FDCWD, directory, 0755, true);
        if (fd < 0)
                return fd;
        if (fchmod(fd, 0755) < 0) { /* whatever the umask: the others are to come in */
                r = negative_errno();
                safe_close(fd);
                return r;
        }
        remove_stale(fd);
        s->directory = TAKE_PTR(directory);
        s->directory_fd = fd;
        return 0;
}

/* Everybody may connect; who may go on is found out then. */
static int bind_socket(Endpoint *e) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;

        if (strlen(e->path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, e->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return negative_errno();
        if (unlinkat(e->consoles->directory_fd, e->file, 0) < 0 && errno != ENOENT)
                return negative_errno();
        if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return negative_errno();
        e->fd = TAKE_FD(fd);
        if (fchmodat(e->consoles->directory_fd, e->file, 0666, 0) < 0 || listen(e->fd, BACKLOG) < 0)
                return negative_errno();
        return 0;
}

static int endpoint_listen(Endpoint *e) {
        sd_event *event = e->consoles->rpcd->event;
        int r;

        r = bind_socket(e);
        if (r >= 0)
                r = sd_event_add_io(event, &e->source, e->fd, EPOLLIN, on_connection, e);
        if (r >= 0) /* of who cannot be accepted (no more fds) we hear again and again */
                r = sd_event_source_set_ratelimit(e->source, USEC_PER_SEC, CONNECTIONS_MAX);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &e->timer, CLOCK_MONOTONIC, KEPT_FOR, 0, on_unused, e);
        return r;
}

static int endpoint_new(Consoles *s, const ReplicaVm *vm, Endpoint **ret) {
        Endpoint *e;
        int r;

        if (s->n_endpoints >= ENDPOINTS_MAX)
                return -EDQUOT;
        r = open_directory(s);
        if (r < 0)
                return r;
        e = new0(Endpoint, 1);
        if (!e)
                return -ENOMEM;
        e->consoles = s;
        e->fd = -EBADF;
        TAILQ_INIT(&e->connections);
        TAILQ_INSERT_TAIL(&s->endpoints, e, endpoints);
        s->n_endpoints++;
        e->vm_path = strdup(vm->path);
        e->vm_name = strdup(vm->name);
        e->file = strprintf("%s.sock", vm->name);
        e->path = strprintf("%s/%s.sock", s->directory, vm->name);
        r = e->vm_path && e->vm_name && e->file && e->path ? endpoint_listen(e) : -ENOMEM;
        if (r < 0) {
                endpoint_free(e);
                return r;
        }
        *ret = e;
        return 0;
}

int consoles_open(Consoles *s, const ReplicaVm *vm, const char **ret) {
        Endpoint *e;
        int r;

        TAILQ_FOREACH(e, &s->endpoints, endpoints)
                if (streq(e->vm_path, vm->path))
                        break;
        if (!e) {
                r = endpoint_new(s, vm, &e);
                if (r < 0)
                        return r;
        }
        keep(e);
        *ret = e->path;
        return 0;
}

int consoles_new(Rpcd *d, Feed *feed, Consoles **ret) {
        Consoles *s;

        s = new0(Consoles, 1);
        if (!s)
                return -ENOMEM;
        s->rpcd = d;
        s->feed = feed;
        s->directory_fd = -EBADF;
        TAILQ_INIT(&s->endpoints);
        s->listener = (FeedListener){ .removed = on_vm_removed, .userdata = s };
        feed_add(feed, &s->listener);
        *ret = s;
        return 0;
}

Consoles *consoles_free(Consoles *s) {
        if (!s)
                return NULL;
        while (!TAILQ_EMPTY(&s->endpoints))
                endpoint_free(TAILQ_FIRST(&s->endpoints));
        feed_remove(s->feed, &s->listener);
        safe_close(s->directory_fd);
        free(s->directory);
        return mfree(s);
}

/* vm.console.endpoint (ACCESS_VM): "A Unix socket that is the VM's console, history first, for as long as the VM exists and somebody
 * used or asked for it in the last 10 minutes"
 *   vm_id  string, required
 * → VmConsole { vm_id: string, endpoint: string "unix:/run/hero-rpcd/console/NAME.sock" }
 * Whoever connects is known by the credentials of his process: root, administrators, and whose VM it is. */
void method_vm_console_endpoint(Call *c) {
        const ReplicaVm *vm = replica_find_path(c->rpcd->replica, c->vm_path);
        _cleanup_free_ char *endpoint = NULL;
        const char *path;
        int r;

        if (!vm) {
                call_refuse(c, ERROR_NO_SUCH_VM, "There is no VM '%s' any more.", strna(c->vm_name));
                return;
        }
        r = consoles_open(c->rpcd->guests->consoles, vm, &path);
        if (r == -EDQUOT) {
                call_refuse(c, ERROR_LIMIT_EXCEEDED, "The consoles of %u VMs are in use already.", ENDPOINTS_MAX);
                return;
        }
        if (r >= 0) {
                endpoint = strprintf("unix:%s", path);
                r = endpoint ? 0 : -ENOMEM;
        }
        if (r < 0)
                call_errno(c, r);
        else
                call_result(c, json_pack("{s:s, s:s}", "vm_id", c->vm_id, "endpoint", endpoint));
}
