/* SPDX-License-Identifier: Apache-2.0 */

/* HTTP on real sockets. JSON-RPC, authentication and the replica are played: what comes out of them is what the body asks for. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/http.h"
#include "rpcd/openrpc.h"
#include "rpcd/replica.h"
#include "rpcd/rpc.h"

#define REQUEST_MAX 10000u
#define TIMEOUT (150 * USEC_PER_MSEC)
#define CLIENTS 4

typedef struct World {
        Rpcd rpcd;
        Connections *connections;
        Http *http;
        struct sockaddr_storage address;
        socklen_t address_size;
        int clients[CLIENTS];
        char got[CLIENTS][65536];
        size_t n_got[CLIENTS];
        bool ended[CLIENTS];
        bool drained;
} World;

/* --- What is played ------------------------------------------------------------------------------------------------------- */

struct RpcRequest {
        rpc_done_t done;
        void *userdata;
};

struct AuthQuery {
        auth_done_t done;
        void *userdata;
};

static RpcRequest the_request;
static AuthQuery the_query;
static unsigned n_calls, n_abandoned, n_peers, n_cancelled;
static char last_body[REQUEST_MAX + 1];
static Caller the_caller = { .n_ref = 1 };

Caller *caller_ref(Caller *c) {
        if (c)
                c->n_ref++;
        return c;
}

Caller *caller_unref(Caller *c) {
        if (c)
                c->n_ref--;
        return NULL;
}

int peer_new(Auth *a, int fd, Peer **ret) {
        n_peers++;
        *ret = malloc(1);
        return 0;
}

uid_t peer_uid(const Peer *p) {
        return 0;
}

Peer *peer_free(Peer *p) {
        n_peers -= !!p;
        return mfree(p);
}

int auth_identify(Auth *a, Peer *p, const char *authorization, auth_done_t done, void *userdata, AuthQuery **ret_query,
                  Caller **ret_caller, const char **ret_why) {
        if (authorization && streq(authorization, "Bearer bad")) {
                *ret_why = "This token is not good.";
                return -EACCES;
        }
        if (authorization && streq(authorization, "Bearer later")) {
                the_query = (AuthQuery) { done, userdata };
                *ret_query = &the_query;
                return 0;
        }
        if (authorization && streq(authorization, "Bearer busy"))
                return -EBUSY;
        *ret_caller = caller_ref(&the_caller);
        return 1;
}

void auth_query_cancel(AuthQuery *q) {
        assert_ptr_equal(q, &the_query);
        n_cancelled++;
}

int rpc_handle(Rpcd *d, Caller *caller, const char *road, const char *namespace, const char *body, size_t size, rpc_done_t done,
               void *userdata, RpcRequest **ret) {
        char *text;

        assert_ptr_equal(caller, &the_caller);
        assert_string_equal(road, "http");
        assert_true(size <= REQUEST_MAX);
        memcpy(last_body, body, size);
        last_body[size] = 0;
        n_calls++;
        if (streq(last_body, "no memory"))
                return -ENOMEM;
        *ret = NULL;
        if (streq(last_body, "later")) {
                the_request = (RpcRequest) { done, userdata };
                *ret = &the_request;
        } else if (streq(last_body, "nothing"))
                done(NULL, 0, userdata);
        else if (streq(last_body, "much")) {
                text = malloc(8 << 20);
                assert_non_null(text);
                memset(text, 'x', 8 << 20);
                done(text, 8 << 20, userdata);
        } else {
                text = strprintf("<%s>", size > 100 ? "long" : last_body);
                done(text, strlen(text), userdata);
        }
        return 0;
}

void rpc_request_abandon(RpcRequest *q) {
        assert_ptr_equal(q, &the_request);
        n_abandoned++;
}

void replica_need(Replica *r) {
}

bool replica_is_ready(const Replica *r) {
        return true;
}

unsigned replica_n_vms(const Replica *r) {
        return 42;
}

void replica_count(const Replica *r, const char *state, unsigned *ret) {
        *ret = streq(state, "running") ? 40 : streq(state, "failed") ? 2 : 0;
}

const char *openrpc_document(size_t *ret_size) {
        *ret_size = 2;
        return "{}";
}

/* --- Both ends ------------------------------------------------------------------------------------------------------------ */

static void listen_at(World *w, int family) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int fd;

        fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        if (family == AF_INET)
                assert_int_equal(bind(fd, (struct sockaddr *) &in, sizeof(in)), 0);
        else
                assert_int_equal(bind(fd, (struct sockaddr *) &un, sizeof(sa_family_t)), 0); /* abstract, any */
        assert_int_equal(listen(fd, 10), 0);
        w->address_size = sizeof(w->address);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &w->address, &w->address_size), 0);
        assert_int_equal(http_listen(w->http, fd), 0);
}

static int setup(void **state) {
        World *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        n_calls = n_abandoned = n_cancelled = 0;
        w->rpcd.config = (RpcConfig) {
                .connections_max = CLIENTS - 1,
                .request_max = REQUEST_MAX,
                .request_timeout = TIMEOUT,
                .idle_timeout = 3 * TIMEOUT,
        };
        assert_true(sd_event_new(&w->rpcd.event) >= 0);
        assert_int_equal(connections_new(w->rpcd.event, &w->rpcd.config, &w->connections), 0);
        assert_int_equal(http_new(&w->rpcd, w->connections, &w->http), 0);
        listen_at(w, AF_UNIX);
        for (unsigned i = 0; i < CLIENTS; i++)
                w->clients[i] = -EBADF;
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        for (unsigned i = 0; i < CLIENTS; i++)
                if (w->clients[i] >= 0)
                        close(w->clients[i]);
        http_free(w->http);
        assert_int_equal(n_peers, 0);
        assert_int_equal(the_caller.n_ref, 1);
        connections_free(w->connections);
        sd_event_unref(w->rpcd.event);
        free(w);
        return 0;
}

static void connect_as(World *w, unsigned i) {
        w->clients[i] = socket(w->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(w->clients[i] >= 0);
        assert_int_equal(connect(w->clients[i], (struct sockaddr *) &w->address, w->address_size), 0);
        w->n_got[i] = 0;
        w->ended[i] = false;
}

static void disconnect(World *w, unsigned i) {
        close(w->clients[i]);
        w->clients[i] = -EBADF;
}

static void say_n(World *w, unsigned i, const char *text, size_t n) {
        if (w->clients[i] < 0)
                connect_as(w, i);
        assert_int_equal(send(w->clients[i], text, n, MSG_NOSIGNAL), n);
}

static void say(World *w, unsigned i, const char *text) {
        say_n(w, i, text, strlen(text));
}

static void hear(World *w, unsigned i) {
        ssize_t n;

        if (w->clients[i] < 0 || w->ended[i])
                return;
        while ((n = recv(w->clients[i], w->got[i] + w->n_got[i], sizeof(w->got[i]) - 1 - w->n_got[i], MSG_DONTWAIT)) > 0)
                w->n_got[i] += n;
        w->ended[i] = n == 0 || (n < 0 && errno != EAGAIN);
        w->got[i][w->n_got[i]] = 0;
}

static void run_for(World *w, uint64_t usec) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + usec, now;

        while ((now = now_usec(CLOCK_MONOTONIC)) < end)
                assert_true(sd_event_run(w->rpcd.event, MIN2(end - now, 2 * USEC_PER_MSEC)) >= 0);
        for (unsigned i = 0; i < CLIENTS; i++)
                hear(w, i);
}

/* Until client i has heard text. */
static void expect(World *w, unsigned i, const char *text) {
        char *p;

        for (unsigned k = 0; k < 500; k++) {
                run_for(w, USEC_PER_MSEC);
                p = strstr(w->got[i], text);
                if (p) { /* from behind it for the next time */
                        p += strlen(text);
                        w->n_got[i] -= p - w->got[i];
                        memmove(w->got[i], p, w->n_got[i] + 1);
                        return;
                }
        }
        print_error("waited for: %s\ngot: %s\n", text, w->got[i]);
        fail();
}

static void expect_end(World *w, unsigned i) {
        for (unsigned k = 0; k < 500 && !w->ended[i]; k++)
                run_for(w, USEC_PER_MSEC);
        assert_true(w->ended[i]);
        disconnect(w, i);
}

#define HOST "Host: localhost\r\n"
#define POST "POST /rpc HTTP/1.1\r\n" HOST

static void post(World *w, unsigned i, const char *headers, const char *body) {
        _cleanup_free_ char *text = NULL;

        text = strprintf(POST "%sContent-Length: %zu\r\n\r\n%s", headers, strlen(body), body);
        assert_non_null(text);
        say(w, i, text);
}

static void still_usable(World *w, unsigned i) {
        post(w, i, "", "still?");
        expect(w, i, "<still?>");
        assert_false(w->ended[i]);
}

/* --- Tests ---------------------------------------------------------------------------------------------------------------- */

static void a_body_goes_in_and_its_answer_comes_out(void **state) {
        World *w = *state;

        post(w, 0, "Content-Type: application/json\r\n", "hello");
        expect(w, 0, "HTTP/1.1 200 OK\r\n");
        expect(w, 0, "Content-Type: application/json\r\n");
        expect(w, 0, "\r\n\r\n<hello>");
        still_usable(w, 0);
        assert_int_equal(n_peers, 1);
        assert_int_equal(n_calls, 2);
}

static void both_paths_are_there_with_and_without_the_prefix(void **state) {
        static const char *const paths[] = { "/rpc", "/api/root/compute/rpc", "/hero_compute_manager/rpc",
                                             "/hero_compute_manager/api/root/compute/rpc", "/rpc?x=y" };
        World *w = *state;
        char text[256];

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n%zu", paths[i], i);
                say(w, 0, text);
                snprintf(text, sizeof(text), "<%zu>", i);
                expect(w, 0, text);
        }
}

static void nothing_to_answer_is_204(void **state) {
        World *w = *state;

        post(w, 0, "", "nothing");
        expect(w, 0, "HTTP/1.1 204 No Content\r\n");
        still_usable(w, 0);
}

static void pipelined_requests_are_answered_in_order(void **state) {
        World *w = *state;

        say(w, 0, POST "Content-Length: 5\r\n\r\nfirst" POST "Content-Length: 5\r\n\r\nlater"
                  "GET /health HTTP/1.1\r\n" HOST "\r\n" POST "Content-Length: 6\r\n\r\nfourth");
        expect(w, 0, "<first>");
        run_for(w, 20 * USEC_PER_MSEC);
        assert_int_equal(w->n_got[0], 0);
        the_request.done(strdup("<second>"), 8, the_request.userdata);
        expect(w, 0, "<second>");
        expect(w, 0, "\"status\":\"ok\"");
        expect(w, 0, "<fourth>");
        assert_int_equal(n_calls, 3);
}

static void a_body_may_come_in_pieces(void **state) {
        World *w = *state;

        say(w, 0, "PO");
        run_for(w, 5 * USEC_PER_MSEC);
        say(w, 0, "ST /rpc HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r");
        run_for(w, 5 * USEC_PER_MSEC);
        say(w, 0, "\nab");
        run_for(w, 5 * USEC_PER_MSEC);
        say(w, 0, "cd");
        run_for(w, 5 * USEC_PER_MSEC);
        say(w, 0, "ef");
        expect(w, 0, "<abcdef>");
}

static void a_body_may_be_chunked(void **state) {
        World *w = *state;

        say(w, 0, POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        run_for(w, 5 * USEC_PER_MSEC);
        say(w, 0, "A;extension=1\r\ndefghijklm\r\n0\r\nTrailer: x\r\n\r\n");
        expect(w, 0, "<abcdefghijklm>");
        still_usable(w, 0);
}

static void continue_is_said_when_it_is_asked_for(void **state) {
        World *w = *state;

        say(w, 0, POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        expect(w, 0, "HTTP/1.1 100 Continue\r\n\r\n");
        say(w, 0, "abc");
        expect(w, 0, "<abc>");
}

static void who_asks_first_is_refused_before_the_body(void **state) {
        World *w = *state;

        say(w, 0, POST "Expect: 100-continue\r\nContent-Length: 10001\r\n\r\n");
        expect(w, 0, "HTTP/1.1 413 ");
        expect_end(w, 0);
        say(w, 1, POST "Expect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n");
        expect(w, 1, "HTTP/1.1 415 ");
        expect_end(w, 1);
        assert_int_equal(n_calls, 0);
}

static void a_body_up_to_the_maximum_is_taken(void **state) {
        World *w = *state;
        char body[REQUEST_MAX + 2];

        memset(body, 'y', sizeof(body));
        body[REQUEST_MAX] = 0;
        post(w, 0, "", body);
        expect(w, 0, "<long>");
        assert_string_equal(last_body, body);
        body[REQUEST_MAX] = 'y';
        body[REQUEST_MAX + 1] = 0;
        post(w, 0, "", body);
        expect(w, 0, "HTTP/1.1 413 ");
        expect(w, 0, "{\"error\":\"");
        still_usable(w, 0);
        assert_int_equal(n_calls, 2);
}

static void too_many_chunks_are_too_much(void **state) {
        World *w = *state;
        char chunk[1000 + 8];

        say(w, 0, POST "Transfer-Encoding: chunked\r\n\r\n");
        memset(chunk, 'z', sizeof(chunk));
        memcpy(chunk, "3e8\r\n", 5);
        memcpy(chunk + 1005, "\r\n", 3);
        for (unsigned i = 0; i < 12; i++) {
                say(w, 0, chunk);
                run_for(w, USEC_PER_MSEC);
        }
        say(w, 0, "0\r\n\r\n");
        expect(w, 0, "HTTP/1.1 413 ");
        still_usable(w, 0);
}

static void what_is_no_json_is_415(void **state) {
        World *w = *state;

        post(w, 0, "Content-Type: text/plain\r\n", "x");
        expect(w, 0, "HTTP/1.1 415 ");
        post(w, 0, "Content-Type: application/x-www-form-urlencoded\r\n", "a=b&c=d");
        expect(w, 0, "HTTP/1.1 415 ");
        post(w, 0, "Content-Type: application/vndjson\r\n", "x");
        expect(w, 0, "HTTP/1.1 415 ");
        post(w, 0, "Content-Type: application/JSON;charset=utf-8\r\n", "a");
        expect(w, 0, "<a>");
        post(w, 0, "Content-Type: application/vnd.api+json\r\n", "b");
        expect(w, 0, "<b>");
        still_usable(w, 0);
}

static void other_paths_are_404_and_other_methods_405(void **state) {
        World *w = *state;

        say(w, 0, "GET /nothing HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "HTTP/1.1 404 ");
        expect(w, 0, "{\"error\":\"");
        say(w, 0, "GET /rpc HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "HTTP/1.1 405 ");
        expect(w, 0, "Allow: POST\r\n");
        say(w, 0, "POST /health HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx");
        expect(w, 0, "HTTP/1.1 405 ");
        expect(w, 0, "Allow: GET, HEAD\r\n");
        say(w, 0, "OPTIONS /rpc HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "HTTP/1.1 405 ");
        say(w, 0, "PUT /rpc HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nGET");
        expect(w, 0, "HTTP/1.1 405 ");
        still_usable(w, 0);
        assert_int_equal(n_calls, 1);
}

static void pages_are_there(void **state) {
        World *w = *state;

        say(w, 0, "GET /health HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "{\"status\":\"ok\",\"service\":\"hero_compute_manager\",\"version\":\"" HERO_VERSION "\"}");
        say(w, 0, "GET /hero_compute_manager/openrpc.json HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "\r\n\r\n{}");
        say(w, 0, "GET /.well-known/heroservice.json HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "{\"protocol\":\"openrpc\",\"name\":\"hero_compute_manager\",");
        say(w, 0, "GET / HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "Content-Type: text/html; charset=utf-8\r\n");
        expect(w, 0, "<tr><th>running</th><td>40</td></tr>");
        expect(w, 0, "</html>");
        say(w, 0, "GET /metrics HTTP/1.1\r\n" HOST "\r\n"); /* there is no bus */
        expect(w, 0, "HTTP/1.1 503 ");
        expect(w, 0, "hero-metricsd");
        assert_int_equal(n_calls, 0);
}

static void head_is_get_without_a_body(void **state) {
        World *w = *state;

        say(w, 0, "HEAD /openrpc.json HTTP/1.1\r\n" HOST "\r\n");
        expect(w, 0, "HTTP/1.1 200 OK\r\n");
        expect(w, 0, "Content-Length: 2\r\n\r\n");
        run_for(w, 5 * USEC_PER_MSEC);
        assert_int_equal(w->n_got[0], 0);
        still_usable(w, 0);
}

static void whose_token_is_bad_is_401(void **state) {
        World *w = *state;

        post(w, 0, "Authorization: Bearer bad\r\n", "x");
        expect(w, 0, "HTTP/1.1 401 ");
        expect(w, 0, "WWW-Authenticate: Bearer");
        expect(w, 0, "This token is not good.");
        post(w, 0, "Authorization: Bearer busy\r\n", "x");
        expect(w, 0, "HTTP/1.1 503 ");
        assert_int_equal(n_calls, 0);
        still_usable(w, 0);
}

static void pages_need_a_caller_where_that_is_configured(void **state) {
        World *w = *state;

        say(w, 0, "GET / HTTP/1.1\r\n" HOST "Authorization: Bearer bad\r\n\r\n");
        expect(w, 0, "HTTP/1.1 200 ");
        expect(w, 0, "</html>");
        w->rpcd.config.oauth_require = true;
        say(w, 0, "GET / HTTP/1.1\r\n" HOST "Authorization: Bearer bad\r\n\r\n");
        expect(w, 0, "HTTP/1.1 401 ");
        say(w, 0, "GET /metrics HTTP/1.1\r\n" HOST "Authorization: Bearer bad\r\n\r\n");
        expect(w, 0, "HTTP/1.1 401 ");
        say(w, 0, "GET /health HTTP/1.1\r\n" HOST "Authorization: Bearer bad\r\n\r\n");
        expect(w, 0, "HTTP/1.1 200 ");
        say(w, 0, "GET / HTTP/1.1\r\n" HOST "Authorization: Bearer later\r\n\r\n");
        run_for(w, 10 * USEC_PER_MSEC);
        the_query.done(0, NULL, &the_caller, the_query.userdata);
        expect(w, 0, "</html>");
}

static void identification_may_take_a_while(void **state) {
        World *w = *state;

        post(w, 0, "Authorization: Bearer later\r\n", "x");
        run_for(w, 10 * USEC_PER_MSEC);
        assert_int_equal(n_calls, 0);
        the_query.done(0, NULL, &the_caller, the_query.userdata);
        expect(w, 0, "<x>");
        post(w, 0, "Authorization: Bearer later\r\n", "later");
        run_for(w, 10 * USEC_PER_MSEC);
        the_query.done(0, NULL, &the_caller, the_query.userdata);
        run_for(w, 10 * USEC_PER_MSEC);
        the_request.done(strdup("<y>"), 3, the_request.userdata);
        expect(w, 0, "<y>");
        post(w, 0, "Authorization: Bearer later\r\n", "x");
        run_for(w, 10 * USEC_PER_MSEC);
        the_query.done(-EACCES, "This token is too old.", NULL, the_query.userdata);
        expect(w, 0, "HTTP/1.1 401 ");
        expect(w, 0, "too old");
        still_usable(w, 0);
}

static void who_leaves_in_the_middle_is_forgotten(void **state) {
        World *w = *state;

        post(w, 0, "", "later");
        post(w, 1, "Authorization: Bearer later\r\n", "x");
        run_for(w, 10 * USEC_PER_MSEC);
        assert_int_equal(connections_count(w->connections), 2);
        disconnect(w, 0);
        run_for(w, 10 * USEC_PER_MSEC);
        assert_int_equal(n_abandoned, 1);
        assert_int_equal(connections_count(w->connections), 1);
        disconnect(w, 1);
        run_for(w, 10 * USEC_PER_MSEC);
        assert_int_equal(n_cancelled, 1);
        assert_int_equal(connections_count(w->connections), 0);
}

static void a_half_closed_socket_has_its_answer(void **state) {
        World *w = *state;

        post(w, 0, "", "soon");
        assert_int_equal(shutdown(w->clients[0], SHUT_WR), 0);
        expect(w, 0, "<soon>");
        expect_end(w, 0);
        post(w, 0, "", "later");
        run_for(w, 10 * USEC_PER_MSEC);
        assert_int_equal(shutdown(w->clients[0], SHUT_WR), 0);
        run_for(w, 10 * USEC_PER_MSEC);
        the_request.done(strdup("<late>"), 6, the_request.userdata);
        expect(w, 0, "<late>");
        expect_end(w, 0);
        assert_int_equal(n_abandoned, 0);
}

static void slow_requests_are_cut_off(void **state) {
        World *w = *state;

        connect_as(w, 0);
        post(w, 1, "", "first");
        expect(w, 1, "<first>");
        say(w, 1, POST "Content-Length: 100\r\n\r\n");
        for (unsigned i = 0; i < 10 && !w->ended[1]; i++) {
                run_for(w, TIMEOUT / 5);
                if (!w->ended[1])
                        (void) send(w->clients[1], "x", 1, MSG_NOSIGNAL);
        }
        assert_true(w->ended[0]);
        assert_true(w->ended[1]);
        run_for(w, 10 * USEC_PER_MSEC);
        assert_int_equal(connections_count(w->connections), 0);
}

static void idle_connections_last_longer(void **state) {
        World *w = *state;

        still_usable(w, 0);
        run_for(w, 2 * TIMEOUT);
        still_usable(w, 0);
        run_for(w, 4 * TIMEOUT);
        expect_end(w, 0);
}

static void calls_have_no_deadline(void **state) {
        World *w = *state;

        post(w, 0, "", "later");
        run_for(w, 5 * TIMEOUT);
        assert_false(w->ended[0]);
        the_request.done(strdup("<at last>"), 9, the_request.userdata);
        expect(w, 0, "<at last>");
}

static void who_does_not_read_is_cut_off(void **state) {
        World *w = *state;

        post(w, 0, "", "much");
        for (unsigned i = 0; i < 6; i++) {
                uint64_t end = now_usec(CLOCK_MONOTONIC) + TIMEOUT;

                while (now_usec(CLOCK_MONOTONIC) < end)
                        assert_true(sd_event_run(w->rpcd.event, 5 * USEC_PER_MSEC) >= 0);
        }
        assert_int_equal(connections_count(w->connections), 0);
}

static void headers_are_bounded(void **state) {
        World *w = *state;
        char filler[20000];

        memset(filler, 'h', sizeof(filler));
        filler[sizeof(filler) - 1] = 0;
        say(w, 0, POST "X-Filler: ");
        (void) send(w->clients[0], filler, sizeof(filler) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        expect(w, 0, "HTTP/1.1 431 ");
        expect_end(w, 0);
        say(w, 1, "GET /");
        (void) send(w->clients[1], filler, sizeof(filler) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        expect(w, 1, "HTTP/1.1 414 ");
        expect_end(w, 1);
}

static void nonsense_is_400(void **state) {
        static const char *const words[] = { "\x16\x03\x01\r\n\r\n", "HELLO\r\n\r\n",
                                             "POST /rpc HTTP/1.1\r\n" HOST "Content-Length: x\r\n\r\n",
                                             "POST /rpc HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
                                             "POST /rpc HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                                             "POST /rpc HTTP/1.1\r\nContent-Length: 0\r\n\r\n" };
        World *w = *state;

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                say(w, 0, words[i]);
                for (unsigned k = 0; k < 100 && !w->ended[0]; k++)
                        run_for(w, USEC_PER_MSEC);
                assert_true(w->ended[0]);
                assert_null(strstr(w->got[0], " 200 "));
                disconnect(w, 0);
        }
        assert_int_equal(n_calls, 0);
}

static void who_does_nothing_makes_room(void **state) {
        World *w = *state;

        for (unsigned i = 0; i < CLIENTS - 1; i++)
                still_usable(w, i);
        still_usable(w, CLIENTS - 1);
        run_for(w, 5 * USEC_PER_MSEC);
        assert_true(w->ended[0]);
        assert_false(w->ended[1]);
        assert_int_equal(connections_count(w->connections), CLIENTS - 1);
}

static void when_all_are_busy_no_more_come_in(void **state) {
        World *w = *state;

        for (unsigned i = 0; i < CLIENTS - 1; i++)
                say(w, i, POST "Content-Length: 5\r\n\r\n");
        run_for(w, 5 * USEC_PER_MSEC);
        connect_as(w, CLIENTS - 1);
        expect_end(w, CLIENTS - 1);
        say(w, 0, "hello");
        expect(w, 0, "<hello>");
        still_usable(w, CLIENTS - 1);
}

static void pages_of_others_do_not_ask_over_tcp(void **state) {
        World *w = *state;
        char text[512];
        unsigned port;

        listen_at(w, AF_INET);
        port = ntohs(((struct sockaddr_in *) &w->address)->sin_port);
        still_usable(w, 0);
        post(w, 0, "Origin: http://evil.example\r\n", "x");
        expect(w, 0, "HTTP/1.1 403 ");
        say(w, 0, "GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        expect(w, 0, "HTTP/1.1 403 ");
        snprintf(text, sizeof(text), "POST /rpc HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nOrigin: http://127.0.0.1:%u\r\n"
                 "Content-Length: 3\r\n\r\nown", port, port);
        say(w, 0, text);
        expect(w, 0, "<own>");
        assert_int_equal(n_calls, 2);
}

static void drained(void *userdata) {
        ((World *) userdata)->drained = true;
}

static void at_the_end_calls_under_way_have_their_answer(void **state) {
        World *w = *state;

        still_usable(w, 0);
        post(w, 1, "", "later");
        run_for(w, 5 * USEC_PER_MSEC);
        http_stop_listening(w->http);
        assert_int_equal(connections_drain(w->connections, USEC_PER_SEC, drained, w), 0);
        expect_end(w, 0);
        run_for(w, 5 * USEC_PER_MSEC);
        assert_false(w->drained);
        the_request.done(strdup("<bye>"), 5, the_request.userdata);
        expect(w, 1, "Connection: close\r\n");
        expect(w, 1, "<bye>");
        expect_end(w, 1);
        run_for(w, 5 * USEC_PER_MSEC);
        assert_true(w->drained);
        w->clients[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(w->clients[0], (struct sockaddr *) &w->address, w->address_size), -1);
}

static void what_is_under_way_ends_with_the_server(void **state) {
        World *w = *state;

        post(w, 0, "", "later");
        post(w, 1, "Authorization: Bearer later\r\n", "x");
        say(w, 2, POST "Content-Length: 5\r\n\r\nab");
        run_for(w, 10 * USEC_PER_MSEC);
        w->http = http_free(w->http);
        assert_int_equal(n_abandoned, 1);
        assert_int_equal(n_cancelled, 1);
        assert_int_equal(connections_count(w->connections), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(a_body_goes_in_and_its_answer_comes_out),
                TEST(both_paths_are_there_with_and_without_the_prefix),
                TEST(nothing_to_answer_is_204),
                TEST(pipelined_requests_are_answered_in_order),
                TEST(a_body_may_come_in_pieces),
                TEST(a_body_may_be_chunked),
                TEST(continue_is_said_when_it_is_asked_for),
                TEST(who_asks_first_is_refused_before_the_body),
                TEST(a_body_up_to_the_maximum_is_taken),
                TEST(too_many_chunks_are_too_much),
                TEST(what_is_no_json_is_415),
                TEST(other_paths_are_404_and_other_methods_405),
                TEST(pages_are_there),
                TEST(head_is_get_without_a_body),
                TEST(whose_token_is_bad_is_401),
                TEST(pages_need_a_caller_where_that_is_configured),
                TEST(identification_may_take_a_while),
                TEST(who_leaves_in_the_middle_is_forgotten),
                TEST(a_half_closed_socket_has_its_answer),
                TEST(slow_requests_are_cut_off),
                TEST(idle_connections_last_longer),
                TEST(calls_have_no_deadline),
                TEST(who_does_not_read_is_cut_off),
                TEST(headers_are_bounded),
                TEST(nonsense_is_400),
                TEST(who_does_nothing_makes_room),
                TEST(when_all_are_busy_no_more_come_in),
                TEST(pages_of_others_do_not_ask_over_tcp),
                TEST(at_the_end_calls_under_way_have_their_answer),
                TEST(what_is_under_way_ends_with_the_server),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
