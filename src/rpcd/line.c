/* SPDX-License-Identifier: Apache-2.0 */

/* A connection is freed in one place, when poll says that its socket is closed. Whoever wants it closed calls shutdown(2): a peer
 * that left, a deadline, the end of the last answer after the peer's end of file, an answer that cannot be sent.
 *
 * A connection that does nothing holds no buffer. One that sends more than it takes is read no further, so that what it can make us
 * hold is one request, LINE_REQUESTS_MAX answers and what the kernel has. */

#include "rpcd/line.h"

#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"
#include "rpcd/rpc.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define NAMESPACE "compute."
#define READ_MAX 65536u                 /* at a time */
#define ACCEPT_MAX 64u                  /* in a row */
#define ACCEPTS_PER_SEC 500u            /* rows */
#define OUTPUT_MAX (1024u * 1024)       /* not taken yet by the other side: it is read no further */

#define ERROR_TEXT(code, message, name, detail)                                                           \
        "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":" code ",\"message\":\"" message "\",\"data\":{\"name\":\"" name "\"" \
        detail "}},\"id\":null}"
#define TOO_LONG ERROR_TEXT("-32600", "Invalid Request", "InvalidRequest", ",\"detail\":\"The line is too long.\"")
#define NO_MEMORY ERROR_TEXT("-32603", "Internal error", "InternalError", ",\"detail\":\"There is no memory for it now.\"")
#define NOT_IDENTIFIED ERROR_TEXT("-32002", "Who asks cannot be found out now.", "ServiceUnavailable", "")

typedef struct LineListener {
        Line *line;
        int fd;
        sd_event_source *io;
        TAILQ_ENTRY(LineListener) entries;
} LineListener;

typedef struct Output {
        char *text;
        size_t size, sent; /* with the line feed behind it, which is not in text */
        TAILQ_ENTRY(Output) entries;
} Output;

typedef struct LineConnection LineConnection;

typedef struct LineRequest {
        LineConnection *connection;
        AuthQuery *query;
        RpcRequest *request;
        char *text; /* while whoever asks is being found out */
        size_t size;
        TAILQ_ENTRY(LineRequest) entries;
} LineRequest;

struct LineConnection {
        Connection connection;
        Line *line;
        Peer *peer;
        sd_event_source *io;

        char *in;
        size_t n_in, allocated;
        size_t scanned; /* of in, without a line feed */
        TAILQ_HEAD(, LineRequest) requests;
        unsigned n_requests;
        TAILQ_HEAD(, Output) outputs;
        size_t n_out;
        bool eof;       /* nothing more is read */
        bool broken;    /* nothing more is sent */
        bool taking;    /* take_lines() is not over */
        TAILQ_ENTRY(LineConnection) entries;
};

struct Line {
        Rpcd *rpcd;
        Connections *connections;
        TAILQ_HEAD(, LineListener) listeners;
        TAILQ_HEAD(, LineConnection) all;
        char buffer[READ_MAX];
};

static void take_lines(LineConnection *c);

static bool wants_lines(const LineConnection *c) {
        return c->n_requests < LINE_REQUESTS_MAX && c->n_out <= OUTPUT_MAX &&
                !connections_are_draining(c->line->connections);
}

/* After whatever happened: what is waited for, and how long. progress: a deadline begins anew even in the same phase. */
static void update(LineConnection *c, bool progress) {
        bool reads = wants_lines(c) && !c->eof;
        ConnectionPhase phase;
        int r;

        if (c->n_out > 0)
                phase = CONNECTION_ANSWER;
        else if (c->n_in > 0 && reads)
                phase = CONNECTION_REQUEST;
        else
                phase = c->n_requests > 0 ? CONNECTION_CALL : CONNECTION_IDLE;
        if (progress || phase != c->connection.phase)
                connection_set_phase(&c->connection, phase);
        r = sd_event_source_set_io_events(c->io, (reads ? EPOLLIN : 0) | (c->n_out > 0 ? EPOLLOUT : 0));
        if (r < 0 || c->broken || (c->eof && c->n_in == 0 && c->n_requests == 0 && c->n_out == 0))
                (void) shutdown(c->connection.fd, SHUT_RDWR);
}

/* --- Output --------------------------------------------------------------------------------------------------------------- */

static void output_free(LineConnection *c, Output *o) {
        TAILQ_REMOVE(&c->outputs, o, entries);
        connection_give_answer(&c->connection, o->size);
        c->n_out -= o->size - o->sent;
        free(o->text);
        free(o);
}

/* Bytes that went, 0: none now. -errno: none ever. */
static ssize_t send_text(LineConnection *c, const char *text, size_t size, size_t sent) {
        struct iovec parts[] = {
                { (char *) text + MIN2(sent, size - 1), sent < size ? size - 1 - sent : 0 },
                { (char *) "\n", 1 },
        };
        const struct msghdr m = { .msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts) };
        ssize_t n;

        n = sendmsg(c->connection.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
                return n;
        return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
}

static void flush(LineConnection *c) {
        ssize_t n;
        Output *o;

        while ((o = TAILQ_FIRST(&c->outputs))) {
                n = send_text(c, o->text, o->size, o->sent);
                if (n < 0)
                        c->broken = true;
                if (n <= 0)
                        return;
                o->sent += n;
                c->n_out -= n;
                if (o->sent == o->size)
                        output_free(c, o);
        }
}

/* Takes text over. Most go without a detour. */
static void answer(LineConnection *c, char *text, size_t size) {
        _cleanup_free_ char *owned = text;
        ssize_t n = 0;
        Output *o;

        if (!text || c->broken)
                return;
        size++;
        if (TAILQ_EMPTY(&c->outputs))
                n = send_text(c, text, size, 0);
        if (n == (ssize_t) size)
                return;
        if (n < 0 || !connection_take_answer(&c->connection, size, peer_is_administrator(c->peer))) {
                c->broken = true;
                return;
        }
        o = new0(Output, 1);
        if (!o) {
                connection_give_answer(&c->connection, size);
                c->broken = true;
                return;
        }
        *o = (Output) { .text = TAKE_PTR(owned), .size = size, .sent = n };
        TAILQ_INSERT_TAIL(&c->outputs, o, entries);
        c->n_out += size - n;
}

static void answer_text(LineConnection *c, const char *text) {
        char *copy = strdup(text);

        if (!copy)
                c->broken = true;
        answer(c, copy, strlen(text));
}

/* --- Requests ------------------------------------------------------------------------------------------------------------- */

static void request_free(LineRequest *q) {
        LineConnection *c = q->connection;

        TAILQ_REMOVE(&c->requests, q, entries);
        c->n_requests--;
        if (q->text)
                connection_give_memory(&c->connection, q->size);
        free(q->text);
        free(q);
}

static void request_abandon(LineRequest *q) {
        if (q->query)
                auth_query_cancel(q->query);
        if (q->request)
                rpc_request_abandon(q->request);
        request_free(q);
}

/* One less under way: others may have their turn. */
static void request_answered(LineRequest *q, char *text, size_t size) {
        LineConnection *c = q->connection;

        request_free(q);
        answer(c, text, size);
        if (c->taking)
                return;
        take_lines(c);
        update(c, false);
}

static void request_failed(LineRequest *q, const char *text) {
        char *copy = strdup(text);

        request_answered(q, copy, copy ? strlen(copy) : 0);
}

static void on_rpc_done(char *response, size_t size, void *userdata) {
        request_answered(userdata, response, size);
}

/* q may be gone afterwards. */
static void perform(LineRequest *q, Caller *caller, const char *text, size_t size) {
        RpcRequest *request = NULL;
        int r;

        r = rpc_handle(q->connection->line->rpcd, caller, "line", NAMESPACE, text, size, on_rpc_done, q, &request);
        if (r < 0)
                request_failed(q, NO_MEMORY);
        else if (request)
                q->request = request;
}

static void on_identified(int error, const char *why, Caller *caller, void *userdata) {
        LineRequest *q = userdata;
        _cleanup_free_ char *text = TAKE_PTR(q->text);
        size_t size = q->size;

        q->query = NULL;
        connection_give_memory(&q->connection->connection, size);
        if (error < 0 && error != -EACCES)
                request_failed(q, NOT_IDENTIFIED);
        else
                perform(q, caller, text, size); /* without a caller it is nobody's */
}

static int remember_text(LineRequest *q, const char *text, size_t size) {
        Connection *c = &q->connection->connection;

        if (!connection_take_memory(c, size))
                return -ENOMEM;
        q->text = memdup(text, size);
        q->size = size;
        if (!q->text)
                connection_give_memory(c, size);
        return q->text ? 0 : -ENOMEM;
}

static void handle_line(LineConnection *c, const char *text, size_t size) {
        _cleanup_(caller_unrefp) Caller *caller = NULL;
        const char *why;
        LineRequest *q;
        int r;

        q = new0(LineRequest, 1);
        if (!q) {
                answer_text(c, NO_MEMORY);
                return;
        }
        q->connection = c;
        TAILQ_INSERT_TAIL(&c->requests, q, entries);
        c->n_requests++;
        r = auth_identify(c->line->rpcd->auth, c->peer, NULL, on_identified, q, &q->query, &caller, &why);
        if (r == 0 && remember_text(q, text, size) < 0) {
                auth_query_cancel(TAKE_PTR(q->query));
                request_failed(q, NO_MEMORY);
        } else if (r > 0 || r == -EACCES)
                perform(q, caller, text, size);
        else if (r < 0)
                request_failed(q, NOT_IDENTIFIED);
}

/* --- Input ---------------------------------------------------------------------------------------------------------------- */

static bool is_blank(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
                        return false;
        return true;
}

static void drop_input(LineConnection *c) {
        connection_give_memory(&c->connection, c->allocated);
        c->in = mfree(c->in);
        c->n_in = c->allocated = c->scanned = 0;
}

static void refuse_input(LineConnection *c, const char *text) {
        drop_input(c);
        c->eof = true;
        answer_text(c, text);
}

/* The length of the line that begins at offset; behind the end of file what there is is a line, too. */
static bool find_line(LineConnection *c, size_t offset, size_t *ret_size, size_t *ret_next) {
        size_t from = MAX2(offset, c->scanned);
        const char *end;

        end = memchr(c->in + from, '\n', c->n_in - from);
        c->scanned = c->n_in;
        if (!end && !(c->eof && offset < c->n_in))
                return false;
        *ret_size = end ? (size_t) (end - c->in) - offset : c->n_in - offset;
        *ret_next = end ? offset + *ret_size + 1 : c->n_in;
        c->scanned = *ret_next;
        return true;
}

static void take_lines(LineConnection *c) {
        size_t max = c->line->rpcd->config.request_max, offset = 0, size, next;

        if (!c->in)
                return;
        c->taking = true;
        while (wants_lines(c) && find_line(c, offset, &size, &next)) {
                if (size > max)
                        break;
                if (!is_blank(c->in + offset, size))
                        handle_line(c, c->in + offset, size);
                offset = next;
        }
        c->taking = false;
        c->n_in -= offset;
        c->scanned = c->scanned > offset ? c->scanned - offset : 0;
        if (c->n_in == 0)
                drop_input(c);
        else if (offset > 0)
                memmove(c->in, c->in + offset, c->n_in);
        if (c->n_in > max && wants_lines(c))
                refuse_input(c, TOO_LONG);
        if (offset > 0)
                update(c, true);
}

static int add_input(LineConnection *c, const char *data, size_t size) {
        size_t wanted;
        char *p;

        if (size > c->allocated - c->n_in) {
                wanted = c->in ? MAX2(2 * c->allocated, c->n_in + size) : size;
                if (!connection_take_memory(&c->connection, wanted - c->allocated))
                        return -ENOMEM;
                p = realloc(c->in, wanted);
                if (!p) {
                        connection_give_memory(&c->connection, wanted - c->allocated);
                        return -ENOMEM;
                }
                c->in = p;
                c->allocated = wanted;
        }
        memcpy(c->in + c->n_in, data, size);
        c->n_in += size;
        return 0;
}

/* True: there may be more. */
static bool read_input(LineConnection *c) {
        char *buffer = c->line->buffer;
        ssize_t n;

        n = recv(c->connection.fd, buffer, READ_MAX, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        if (n <= 0)
                c->eof = true;
        else if (add_input(c, buffer, n) < 0)
                refuse_input(c, NO_MEMORY);
        take_lines(c);
        return !c->eof;
}

/* --- Connections ---------------------------------------------------------------------------------------------------------- */

static LineConnection *connection_free(LineConnection *c) {
        LineRequest *q;
        Output *o;

        if (!c)
                return NULL;
        while ((q = TAILQ_FIRST(&c->requests)))
                request_abandon(q);
        while ((o = TAILQ_FIRST(&c->outputs)))
                output_free(c, o);
        drop_input(c);
        TAILQ_REMOVE(&c->line->all, c, entries);
        peer_free(c->peer);
        sd_event_source_disable_unref(c->io);
        connection_close(&c->connection);
        safe_close(c->connection.fd);
        return mfree(c);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(LineConnection *, connection_free);

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        LineConnection *c = userdata;
        bool gone = revents & (EPOLLHUP | EPOLLERR);

        /* What somebody has said before he left still holds. */
        if (revents & EPOLLIN)
                while (wants_lines(c) && !c->eof && read_input(c) && gone)
                        ;
        if (gone) {
                connection_free(c);
                return 0;
        }
        if (revents & EPOLLOUT) {
                flush(c);
                take_lines(c);
                update(c, true);
        } else
                update(c, false);
        return 0;
}

/* Takes fd over. */
static int connection_new(Line *l, int fd) {
        _cleanup_(connection_freep) LineConnection *c = NULL;
        int r;

        c = new0(LineConnection, 1);
        if (!c) {
                safe_close(fd);
                return -ENOMEM;
        }
        c->line = l;
        TAILQ_INIT(&c->requests);
        TAILQ_INIT(&c->outputs);
        TAILQ_INSERT_TAIL(&l->all, c, entries);
        c->connection.fd = fd;
        r = peer_new(l->rpcd->auth, fd, &c->peer);
        if (r >= 0)
                r = connection_open(l->connections, &c->connection, fd, peer_uid(c->peer));
        if (r >= 0)
                r = sd_event_add_io(l->rpcd->event, &c->io, fd, EPOLLIN, on_io, c);
        if (r < 0)
                return r;
        connection_set_phase(&c->connection, CONNECTION_IDLE);
        TAKE_PTR(c);
        return 0;
}

static int on_accept(sd_event_source *s, int listening, uint32_t revents, void *userdata) {
        Line *l = ((LineListener *) userdata)->line;
        int fd, r;

        for (unsigned i = 0; i < ACCEPT_MAX; i++) {
                fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd < 0)
                        return 0;
                if (!connections_make_room(l->connections)) {
                        safe_close(fd);
                        continue;
                }
                r = connection_new(l, fd);
                if (r < 0)
                        log_debug_errno(r, "A connection is refused: %m");
        }
        return 0;
}

/* --- Listening ------------------------------------------------------------------------------------------------------------ */

int line_listen(Line *l, int fd) {
        _cleanup_close_ int listening = fd;
        LineListener *n;
        int r;

        r = fd_nonblock(fd, true);
        if (r < 0)
                return r;
        n = new0(LineListener, 1);
        if (!n)
                return -ENOMEM;
        r = sd_event_add_io(l->rpcd->event, &n->io, fd, EPOLLIN, on_accept, n);
        if (r >= 0) /* when there is no fd left, nothing is accepted, and it stays ready */
                r = sd_event_source_set_ratelimit(n->io, USEC_PER_SEC, ACCEPTS_PER_SEC);
        if (r < 0) {
                sd_event_source_disable_unref(n->io);
                free(n);
                return r;
        }
        (void) sd_event_source_set_description(n->io, "line");
        n->line = l;
        n->fd = TAKE_FD(listening);
        TAILQ_INSERT_TAIL(&l->listeners, n, entries);
        return 0;
}

void line_stop_listening(Line *l) {
        LineListener *n;

        while ((n = TAILQ_FIRST(&l->listeners))) {
                TAILQ_REMOVE(&l->listeners, n, entries);
                sd_event_source_disable_unref(n->io);
                safe_close(n->fd);
                free(n);
        }
}

int line_new(Rpcd *d, Connections *connections, Line **ret) {
        Line *l;

        l = new0(Line, 1);
        if (!l)
                return -ENOMEM;
        l->rpcd = d;
        l->connections = connections;
        TAILQ_INIT(&l->listeners);
        TAILQ_INIT(&l->all);
        *ret = l;
        return 0;
}

Line *line_free(Line *l) {
        LineConnection *c;

        if (!l)
                return NULL;
        line_stop_listening(l);
        while ((c = TAILQ_FIRST(&l->all)))
                connection_free(c);
        return mfree(l);
}
