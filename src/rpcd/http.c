/* SPDX-License-Identifier: Apache-2.0 */

/* libmicrohttpd in the loop of sd-event: one of its daemons for each listening socket, whose epoll fd is one source. It reads
 * requests, we say what is in the answer.
 *
 * Of a connection there is one exchange at a time. Most are answered from within the handler. One that has to wait (for a login
 * name, a job) is suspended, which takes its socket out of libmicrohttpd's epoll set; from then on only its end is watched, and
 * the handler runs again when the answer is there. Nothing is allocated for a request but its body, and that only until it has
 * been read by rpc_handle().
 *
 * What is wrong with a request is noted when its headers are there, and answered after its body has been read (and dropped): the
 * connection stays usable, and no client misses an answer because it was still writing. Only who asks first (Expect:) is
 * refused at once. */

#include <microhttpd.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "rpcd/http-routes.h"
#include "rpcd/http.h"
#include "rpcd/rpc.h"
#include "shared/bus-util.h"
#include "shared/log.h"

/* Request line, headers, and those of the answer. */
#define HEADERS_MAX (8u * 1024)

/* How often libmicrohttpd runs in a row before others have their turn. */
#define RUNS_MAX 4u

typedef struct Listener {
        Http *http;
        struct MHD_Daemon *daemon;
        sd_event_source *io, *again;
        bool tcp;
        TAILQ_ENTRY(Listener) entries;
} Listener;

typedef enum Step {
        STEP_NONE,    /* between two requests */
        STEP_HEADERS, /* of the request are to come */
        STEP_BODY,
        STEP_CALL,    /* suspended */
        STEP_ANSWER,
} Step;

/* Of a request, those that matter; NULL: it has none. libmicrohttpd's, as long as the request. */
typedef struct Headers {
        const char *authorization, *content_length, *content_type, *expect, *host, *origin, *transfer_encoding;
        bool twice; /* one of them, or what contradicts: it may be read in two ways */
} Headers;

struct HttpExchange {
        Connection connection; /* for its whole life, as are the next ones */
        Listener *listener;
        Peer *peer;
        TAILQ_ENTRY(HttpExchange) entries;

        struct MHD_Connection *mhd;
        Step step;
        Headers headers;
        const HttpRoute *route;
        unsigned refused;    /* status it will be answered with, 0: none so far */
        const char *refusal; /* sentence */
        char *body;
        size_t size, allocated;

        Caller *caller;
        AuthQuery *query;
        RpcRequest *request;
        sd_bus_slot *slot;
        sd_event_source *hangup;
        uint64_t held;       /* of the answer, as connections.h counts */
        bool answered; /* answer is it */
        bool gone;     /* whoever asked */
        HttpAnswer answer;
};

struct Http {
        Rpcd *rpcd;
        Connections *connections;
        TAILQ_HEAD(, Listener) listeners;
        TAILQ_HEAD(, HttpExchange) exchanges;
};

/* --- An exchange ---------------------------------------------------------------------------------------------------------- */

static void drop_body(HttpExchange *e) {
        if (e->body)
                connection_give_memory(&e->connection, e->allocated);
        e->body = mfree(e->body);
        e->size = e->allocated = 0;
}

/* What was begun for it is not waited for any more. */
static void abandon(HttpExchange *e) {
        if (e->query)
                auth_query_cancel(TAKE_PTR(e->query));
        if (e->request)
                rpc_request_abandon(TAKE_PTR(e->request));
        e->slot = sd_bus_slot_unref(e->slot);
}

static void answer_free(HttpAnswer *a) {
        if (!a->constant)
                free(a->body);
        *a = (HttpAnswer) {};
}

static void exchange_reset(HttpExchange *e) {
        abandon(e);
        drop_body(e);
        e->caller = caller_unref(e->caller);
        e->hangup = sd_event_source_disable_unref(e->hangup);
        connection_give_answer(&e->connection, e->held);
        e->held = 0;
        answer_free(&e->answer);
        e->route = NULL;
        e->refused = 0;
        e->refusal = NULL;
        e->answered = false;
        e->step = STEP_NONE;
}

static void refuse(HttpExchange *e, unsigned status, const char *sentence) {
        if (e->refused)
                return;
        e->refused = status;
        e->refusal = sentence;
        drop_body(e);
}

/* The answer is there. From within the handler it is sent when that goes on, else the handler is made to run. */
static void answered(HttpExchange *e) {
        e->answered = true;
        if (e->step != STEP_CALL)
                return;
        e->hangup = sd_event_source_disable_unref(e->hangup);
        MHD_resume_connection(e->mhd); /* which is done by the next MHD_run() */
        (void) sd_event_source_set_enabled(e->listener->again, SD_EVENT_ONESHOT);
}

static void answer_error(HttpExchange *e, unsigned status, const char *sentence) {
        http_answer_error(&e->answer, status, sentence);
        answered(e);
}

/* Takes a over, unless too much of what was answered waits to be read. */
static void answer_with(HttpExchange *e, HttpAnswer *a) {
        size_t size = a->constant ? 0 : a->size;

        if (!connection_take_answer(&e->connection, size, e->caller && e->caller->admin)) {
                answer_free(a);
                answer_error(e, MHD_HTTP_SERVICE_UNAVAILABLE, "Too many answers wait to be read; what was asked for is done.");
                return;
        }
        e->held = size;
        e->answer = *a;
        answered(e);
}

static enum MHD_Result send_answer(HttpExchange *e) {
        HttpAnswer *a = &e->answer;
        struct MHD_Response *response;
        enum MHD_Result r = MHD_YES;

        response = MHD_create_response_from_buffer(a->size, a->body, a->constant ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);
        if (!response)
                return MHD_NO;
        a->body = NULL;
        if (a->type)
                r = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
        if (r == MHD_YES && a->header)
                r = MHD_add_response_header(response, a->header, a->value);
        if (r == MHD_YES && (a->close || connections_are_draining(e->listener->http->connections)))
                r = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
        if (r == MHD_YES)
                r = MHD_queue_response(e->mhd, a->status, response);
        MHD_destroy_response(response);
        if (r == MHD_YES) {
                e->step = STEP_ANSWER;
                connection_set_phase(&e->connection, CONNECTION_ANSWER);
        }
        return r;
}

/* Watched while libmicrohttpd does not: a half-closed socket still wants its answer, one closed as a whole does not. */
static int on_hangup(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        HttpExchange *e = userdata;

        abandon(e);
        e->gone = true;
        answered(e);
        return 0;
}

static enum MHD_Result wait_for_answer(HttpExchange *e) {
        int r;

        r = sd_event_add_io(e->listener->http->rpcd->event, &e->hangup, e->connection.fd, 0, on_hangup, e);
        if (r < 0) {
                log_debug_errno(r, "Failed to watch a connection: %m");
                return MHD_NO;
        }
        e->step = STEP_CALL;
        connection_set_phase(&e->connection, CONNECTION_CALL);
        MHD_suspend_connection(e->mhd);
        return MHD_YES;
}

void http_exchange_wait(HttpExchange *e, sd_bus_slot *slot) {
        e->slot = slot;
}

void http_exchange_done(HttpExchange *e, HttpAnswer *a) {
        e->slot = sd_bus_slot_unref(e->slot);
        answer_with(e, a);
}

/* --- From a request to its answer ----------------------------------------------------------------------------------------- */

static void on_rpc_done(char *response, size_t size, void *userdata) {
        HttpExchange *e = userdata;

        e->request = NULL;
        answer_with(e, &(HttpAnswer) {
                               .status = response ? MHD_HTTP_OK : MHD_HTTP_NO_CONTENT,
                               .type = response ? "application/json" : NULL,
                               .body = response,
                               .size = size,
                       });
}

/* Who asks is known by now, where it matters. */
static void perform(HttpExchange *e) {
        Rpcd *d = e->listener->http->rpcd;
        RpcRequest *request = NULL;
        HttpAnswer page = {};
        int r;

        if (e->route->page) {
                r = e->route->page(d, e, &page);
                if (r > 0)
                        answer_with(e, &page);
        } else {
                r = rpc_handle(d, e->caller, "http", "", strempty(e->body), e->size, on_rpc_done, e, &request);
                drop_body(e);
                if (!e->answered)
                        e->request = request;
        }
        if (r < 0)
                answer_error(e, MHD_HTTP_SERVICE_UNAVAILABLE, "There is no memory for it now.");
}

static void not_identified(HttpExchange *e, int error, const char *why) {
        if (error == -EACCES) {
                e->answer.header = MHD_HTTP_HEADER_WWW_AUTHENTICATE;
                e->answer.value = "Bearer realm=\"hero_compute_manager\"";
                answer_error(e, MHD_HTTP_UNAUTHORIZED, why ?: "You have to say who you are.");
        } else
                answer_error(e, MHD_HTTP_SERVICE_UNAVAILABLE,
                             error == -EBUSY ? "Too many wait to be identified." : "Who asks cannot be found out now.");
}

static void on_identified(int error, const char *why, Caller *caller, void *userdata) {
        HttpExchange *e = userdata;

        e->query = NULL;
        if (error < 0) {
                not_identified(e, error, why);
                return;
        }
        e->caller = caller_ref(caller);
        perform(e);
}

static void identify(HttpExchange *e) {
        Rpcd *d = e->listener->http->rpcd;
        const char *why = NULL;
        int r;

        r = auth_identify(d->auth, e->peer, e->headers.authorization, on_identified, e, &e->query, &e->caller, &why);
        if (r < 0)
                not_identified(e, r, why);
        else if (r > 0)
                perform(e);
}

/* The request is there as a whole. */
static enum MHD_Result on_complete(HttpExchange *e) {
        Rpcd *d = e->listener->http->rpcd;

        if (e->refused)
                answer_error(e, e->refused, e->refusal);
        else if (!e->route->page || (e->route->known && d->config.oauth_require > 0))
                identify(e);
        else
                perform(e);
        return e->answered ? send_answer(e) : wait_for_answer(e);
}

static void take_body(HttpExchange *e, const char *data, size_t size) {
        Http *h = e->listener->http;
        size_t max = h->rpcd->config.request_max, wanted;
        char *p;

        if (e->refused)
                return;
        if (size > max - e->size) {
                refuse(e, MHD_HTTP_CONTENT_TOO_LARGE, "The request is too long.");
                return;
        }
        if (size > e->allocated - e->size) {
                /* Exact for what comes in one piece, else by doubling. */
                wanted = e->body ? MIN2(MAX2(2 * e->allocated, e->size + size), max) : size;
                if (!connection_take_memory(&e->connection, wanted - e->allocated)) {
                        refuse(e, MHD_HTTP_SERVICE_UNAVAILABLE, "There is no memory for it now.");
                        return;
                }
                p = realloc(e->body, wanted);
                if (!p) {
                        connection_give_memory(&e->connection, wanted - e->allocated);
                        refuse(e, MHD_HTTP_SERVICE_UNAVAILABLE, "There is no memory for it now.");
                        return;
                }
                e->body = p;
                e->allocated = wanted;
        }
        memcpy(e->body + e->size, data, size);
        e->size += size;
}

/* --- Headers -------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result take_header(void *userdata, enum MHD_ValueKind kind, const char *key, const char *value) {
        static const struct {
                const char *name;
                size_t offset;
        } wanted[] = {
                { MHD_HTTP_HEADER_AUTHORIZATION, offsetof(Headers, authorization) },
                { MHD_HTTP_HEADER_CONTENT_LENGTH, offsetof(Headers, content_length) },
                { MHD_HTTP_HEADER_CONTENT_TYPE, offsetof(Headers, content_type) },
                { MHD_HTTP_HEADER_EXPECT, offsetof(Headers, expect) },
                { MHD_HTTP_HEADER_HOST, offsetof(Headers, host) },
                { MHD_HTTP_HEADER_ORIGIN, offsetof(Headers, origin) },
                { MHD_HTTP_HEADER_TRANSFER_ENCODING, offsetof(Headers, transfer_encoding) },
        };
        Headers *h = userdata;

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                if (strcasecmp(key, wanted[i].name) == 0) {
                        const char **p = (const char **) ((char *) h + wanted[i].offset);

                        h->twice = h->twice || *p;
                        *p = strempty(value);
                }
        return MHD_YES;
}

static bool name_is_loopback(const char *host) {
        static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
        const char *rest;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                rest = startswith(host, names[i]);
                if (rest && (rest[0] == 0 || rest[0] == ':'))
                        return true;
        }
        return false;
}

/* Over TCP whoever asks is known by his user, and so is every page that his browser shows: those of others must not speak for him,
 * neither across origins nor under a name of theirs that means us. */
static bool comes_from_elsewhere(HttpExchange *e) {
        const Headers *h = &e->headers;
        const char *authority;

        if (!e->listener->tcp || e->listener->http->rpcd->config.oauth_require > 0)
                return false;
        if (h->host && !name_is_loopback(h->host))
                return true;
        if (!h->origin)
                return false;
        authority = startswith(h->origin, "http://");
        return !authority || !h->host || !streq(authority, h->host);
}

static void check_headers(HttpExchange *e, const char *url, const char *method) {
        e->route = http_route_find(url);
        if (!e->route)
                refuse(e, MHD_HTTP_NOT_FOUND, "There is nothing at this path.");
        else if (!http_route_allows(e->route, method)) {
                e->answer.header = MHD_HTTP_HEADER_ALLOW;
                e->answer.value = e->route->allow;
                refuse(e, MHD_HTTP_METHOD_NOT_ALLOWED, "This path has no such method.");
        } else if (comes_from_elsewhere(e))
                refuse(e, MHD_HTTP_FORBIDDEN, "Pages of other sites may not ask here.");
        else if (!e->route->page && !http_type_is_json(e->headers.content_type))
                refuse(e, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
                       "Content-Type has to be application/json (curl: -H 'Content-Type: application/json').");
}

/* Somebody in between may have read another length, and take for a request what is a body here. */
static bool is_ambiguous(const Headers *h) {
        return h->twice || (h->transfer_encoding && (h->content_length || strcasecmp(h->transfer_encoding, "chunked") != 0));
}

static bool is_announced_too_long(const HttpExchange *e) {
        uint64_t n;

        return e->headers.content_length && parse_uint64(e->headers.content_length, &n) >= 0 &&
                n > e->listener->http->rpcd->config.request_max;
}

static enum MHD_Result on_headers(HttpExchange *e, const char *url, const char *method) {
        bool ambiguous;

        e->headers = (Headers) {};
        MHD_get_connection_values(e->mhd, MHD_HEADER_KIND, take_header, &e->headers);
        ambiguous = is_ambiguous(&e->headers);
        if (ambiguous)
                refuse(e, MHD_HTTP_BAD_REQUEST, "Where the request ends is not clear from its headers.");
        check_headers(e, url, method);
        if (e->headers.expect && is_announced_too_long(e))
                refuse(e, MHD_HTTP_CONTENT_TOO_LARGE, "The request is too long.");
        e->step = STEP_BODY;
        if (!ambiguous && !(e->headers.expect && e->refused))
                return MHD_YES;
        e->answer.close = true;
        answer_error(e, e->refused, e->refusal);
        return send_answer(e);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **request) {
        HttpExchange *e = *request;

        if (!e || e->gone)
                return MHD_NO;
        switch (e->step) {
        case STEP_HEADERS:
                return on_headers(e, url, method);
        case STEP_BODY:
                if (*size == 0)
                        return on_complete(e);
                take_body(e, data, *size);
                *size = 0;
                return MHD_YES;
        case STEP_CALL:
                return send_answer(e);
        default:
                return MHD_NO;
        }
}

/* The first that is seen of a request: its first line. */
static void *on_request_line(void *userdata, const char *uri, struct MHD_Connection *mhd) {
        const union MHD_ConnectionInfo *info;
        HttpExchange *e;

        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        e = info ? info->socket_context : NULL;
        if (!e)
                return NULL;
        e->mhd = mhd;
        e->step = STEP_HEADERS;
        connection_set_phase(&e->connection, CONNECTION_REQUEST);
        return e;
}

static void on_request_completed(void *userdata, struct MHD_Connection *mhd, void **request,
                                 enum MHD_RequestTerminationCode code) {
        HttpExchange *e = *request;

        if (!e)
                return;
        *request = NULL;
        exchange_reset(e);
        connection_set_phase(&e->connection, CONNECTION_IDLE);
}

/* --- Connections ---------------------------------------------------------------------------------------------------------- */

static HttpExchange *exchange_free(HttpExchange *e) {
        if (!e)
                return NULL;
        exchange_reset(e);
        TAILQ_REMOVE(&e->listener->http->exchanges, e, entries);
        connection_close(&e->connection);
        peer_free(e->peer);
        return mfree(e);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(HttpExchange *, exchange_free);

static int exchange_new(Listener *l, int fd, HttpExchange **ret) {
        _cleanup_(exchange_freep) HttpExchange *e = NULL;
        int r;

        e = new0(HttpExchange, 1);
        if (!e)
                return -ENOMEM;
        e->listener = l;
        TAILQ_INSERT_TAIL(&l->http->exchanges, e, entries);
        r = peer_new(l->http->rpcd->auth, fd, &e->peer);
        if (r >= 0)
                r = connection_open(l->http->connections, &e->connection, fd, peer_uid(e->peer));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

static void on_connection(void *userdata, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code) {
        const union MHD_ConnectionInfo *info;
        int r;

        if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
                *context = exchange_free(*context);
                return;
        }
        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (!info)
                return;
        r = exchange_new(userdata, info->connect_fd, (HttpExchange **) context);
        if (r < 0) {
                log_debug_errno(r, "A connection is refused: %m");
                (void) shutdown(info->connect_fd, SHUT_RDWR);
        }
}

static enum MHD_Result on_accept(void *userdata, const struct sockaddr *address, socklen_t size) {
        Listener *l = userdata;

        return connections_make_room(l->http->connections) ? MHD_YES : MHD_NO;
}

/* --- Listening ------------------------------------------------------------------------------------------------------------ */

/* What libmicrohttpd leaves for later although nothing will wake it is done now, or in the next round of the loop. */
static void run_daemon(Listener *l) {
        MHD_UNSIGNED_LONG_LONG timeout;

        for (unsigned i = 0; i < RUNS_MAX; i++) {
                (void) MHD_run(l->daemon);
                if (MHD_get_timeout(l->daemon, &timeout) != MHD_YES || timeout > 0)
                        return;
        }
        (void) sd_event_source_set_enabled(l->again, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        run_daemon(userdata);
        return 0;
}

static int on_again(sd_event_source *s, void *userdata) {
        run_daemon(userdata);
        return 0;
}

static void _printf_(2, 0) on_log(void *userdata, const char *format, va_list ap) {
        char text[512];

        if (log_get_max_level() < LOG_DEBUG)
                return;
        (void) vsnprintf(text, sizeof(text), format, ap);
        log_debug("libmicrohttpd: %s", strstrip(text));
}

static void stop_listening(Listener *l) {
        if (l->daemon)
                safe_close(MHD_quiesce_daemon(l->daemon));
}

static Listener *listener_free(Listener *l) {
        if (!l)
                return NULL;
        stop_listening(l);
        if (l->daemon)
                MHD_stop_daemon(l->daemon);
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->again);
        return mfree(l);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Listener *, listener_free);

/* With a limit on connections of its own libmicrohttpd would stop to accept, and who comes would wait for those that do nothing. */
static int start_daemon(Listener *l, int fd) {
        const struct MHD_OptionItem options[] = {
                { MHD_OPTION_LISTEN_SOCKET, fd, NULL },
                { MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADERS_MAX, NULL },
                { MHD_OPTION_CONNECTION_LIMIT, INT32_MAX, NULL },
                { MHD_OPTION_EXTERNAL_LOGGER, (intptr_t) on_log, l },
                { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t) on_request_line, l },
                { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t) on_request_completed, l },
                { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t) on_connection, l },
                { MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
                { MHD_OPTION_END, 0, NULL },
        };
        const union MHD_DaemonInfo *info;
        int r;

        l->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, on_accept, l,
                                     on_request, l, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
        info = l->daemon ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info)
                return -EIO;
        r = sd_event_add_io(l->http->rpcd->event, &l->io, info->epoll_fd, EPOLLIN, on_io, l);
        if (r >= 0)
                r = sd_event_source_set_description(l->io, "http");
        if (r >= 0)
                r = sd_event_add_defer(l->http->rpcd->event, &l->again, on_again, l);
        return r;
}

int http_listen(Http *h, int fd) {
        _cleanup_(listener_freep) Listener *l = NULL;
        _cleanup_close_ int listening = fd;
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        int r;

        l = new0(Listener, 1);
        if (!l)
                return -ENOMEM;
        l->http = h;
        if (getsockname(fd, (struct sockaddr *) &address, &size) < 0)
                return negative_errno();
        l->tcp = address.ss_family != AF_UNIX;
        r = fd_nonblock(fd, true);
        if (r < 0)
                return r;
        r = start_daemon(l, fd);
        if (l->daemon)
                TAKE_FD(listening); /* libmicrohttpd's, until it gives it back */
        if (r < 0)
                return r;
        TAILQ_INSERT_TAIL(&h->listeners, l, entries);
        TAKE_PTR(l);
        return 0;
}

void http_stop_listening(Http *h) {
        Listener *l;

        TAILQ_FOREACH(l, &h->listeners, entries)
                stop_listening(l);
}

int http_new(Rpcd *d, Connections *connections, Http **ret) {
        Http *h;

        h = new0(Http, 1);
        if (!h)
                return -ENOMEM;
        h->rpcd = d;
        h->connections = connections;
        TAILQ_INIT(&h->listeners);
        TAILQ_INIT(&h->exchanges);
        *ret = h;
        return 0;
}

/* libmicrohttpd must have nothing suspended when it ends. */
Http *http_free(Http *h) {
        HttpExchange *e;
        Listener *l;

        if (!h)
                return NULL;
        TAILQ_FOREACH(e, &h->exchanges, entries) {
                e->gone = true;
                abandon(e);
                if (e->step == STEP_CALL && !e->answered)
                        answered(e);
        }
        while ((l = TAILQ_FIRST(&h->listeners))) {
                TAILQ_REMOVE(&h->listeners, l, entries);
                (void) MHD_run(l->daemon);
                listener_free(l);
        }
        return mfree(h);
}
