/* SPDX-License-Identifier: Apache-2.0 */

/* JSON-RPC in lines, on real sockets. JSON-RPC itself and authentication are played. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/line.h"
#include "rpcd/rpc.h"

#define REQUEST_MAX 100000u
#define TIMEOUT (150 * USEC_PER_MSEC)
#define MUCH (300u * 1024)

typedef struct World {
        Rpcd rpcd;
        Connections *connections;
        Line *line;
        struct sockaddr_un address;
        socklen_t address_size;
        int client;
        char got[8192];
        size_t n_got;
        bool ended, drained;
} World;

/* --- What is played ------------------------------------------------------------------------------------------------------- */

struct RpcRequest {
        rpc_done_t done;
        void *userdata;
        bool abandoned;
};

struct AuthQuery {
        auth_done_t done;
        void *userdata;
};

static RpcRequest requests[64];
static unsigned n_requests, n_calls, n_abandoned, n_cancelled, n_peers;
static AuthQuery the_query;
static int auth_says;
static char last_text[REQUEST_MAX + 1];
static Caller *last_caller;
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

bool peer_is_administrator(const Peer *p) {
        return false;
}

Peer *peer_free(Peer *p) {
        n_peers -= !!p;
        return mfree(p);
}

int auth_identify(Auth *a, Peer *p, const char *authorization, auth_done_t done, void *userdata, AuthQuery **ret_query,
                  Caller **ret_caller, const char **ret_why) {
        assert_null(authorization);
        if (auth_says > 0)
                *ret_caller = caller_ref(&the_caller);
        else if (auth_says == 0) {
                the_query = (AuthQuery) { done, userdata };
                *ret_query = &the_query;
        }
        return auth_says;
}

void auth_query_cancel(AuthQuery *q) {
        assert_ptr_equal(q, &the_query);
        n_cancelled++;
}

static void done_with(rpc_done_t done, void *userdata, const char *text) {
        char *copy = strdup(text);

        assert_non_null(copy);
        done(copy, strlen(copy), userdata);
}

int rpc_handle(Rpcd *d, Caller *caller, const char *road, const char *namespace, const char *body, size_t size, rpc_done_t done,
               void *userdata, RpcRequest **ret) {
        char text[64];

        assert_string_equal(road, "line");
        assert_string_equal(namespace, "compute.");
        assert_true(size <= REQUEST_MAX);
        memcpy(last_text, body, size);
        last_text[size] = 0;
        last_caller = caller;
        n_calls++;
        *ret = NULL;
        if (streq(last_text, "no memory"))
                return -ENOMEM;
        if (startswith(last_text, "later")) {
                requests[n_requests] = (RpcRequest) { done, userdata, false };
                *ret = &requests[n_requests++];
        } else if (streq(last_text, "nothing"))
                done(NULL, 0, userdata);
        else if (streq(last_text, "much")) {
                char *much = malloc(MUCH);

                assert_non_null(much);
                memset(much, 'm', MUCH);
                done(much, MUCH, userdata);
        } else {
                snprintf(text, sizeof(text), "<%.20s:%zu>", last_text, size);
                done_with(done, userdata, text);
        }
        return 0;
}

void rpc_request_abandon(RpcRequest *q) {
        assert_false(q->abandoned);
        q->abandoned = true;
        n_abandoned++;
}

/* --- Both ends ------------------------------------------------------------------------------------------------------------ */

static int setup(void **state) {
        World *w = calloc(1, sizeof(*w));
        int fd;

        assert_non_null(w);
        n_requests = n_calls = n_abandoned = n_cancelled = 0;
        auth_says = 1;
        w->client = -EBADF;
        w->rpcd.config = (RpcConfig) {
                .connections_max = 2,
                .request_max = REQUEST_MAX,
                .request_timeout = TIMEOUT,
                .idle_timeout = 3 * TIMEOUT,
        };
        assert_true(sd_event_new(&w->rpcd.event) >= 0);
        assert_int_equal(connections_new(w->rpcd.event, &w->rpcd.config, &w->connections), 0);
        assert_int_equal(line_new(&w->rpcd, w->connections, &w->line), 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        w->address.sun_family = AF_UNIX;
        assert_int_equal(bind(fd, (struct sockaddr *) &w->address, sizeof(sa_family_t)), 0);
        assert_int_equal(listen(fd, 10), 0);
        w->address_size = sizeof(w->address);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &w->address, &w->address_size), 0);
        assert_int_equal(line_listen(w->line, fd), 0);
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        if (w->client >= 0)
                close(w->client);
        line_free(w->line);
        assert_int_equal(n_peers, 0);
        assert_int_equal(the_caller.n_ref, 1);
        connections_free(w->connections);
        sd_event_unref(w->rpcd.event);
        free(w);
        return 0;
}

static int connect_to(World *w) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &w->address, w->address_size), 0);
        return fd;
}

static void disconnect(World *w) {
        close(w->client);
        w->client = -EBADF;
        w->n_got = 0;
        w->ended = false;
}

static void turn(World *w, uint64_t usec) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + usec, now;

        while ((now = now_usec(CLOCK_MONOTONIC)) < end)
                assert_true(sd_event_run(w->rpcd.event, MIN2(end - now, 2 * USEC_PER_MSEC)) >= 0);
}

static void run_for(World *w, uint64_t usec) {
        ssize_t n;

        turn(w, usec);
        while ((n = recv(w->client, w->got + w->n_got, sizeof(w->got) - 1 - w->n_got, MSG_DONTWAIT)) > 0)
                w->n_got += n;
        w->ended = n == 0 || errno != EAGAIN;
        w->got[w->n_got] = 0;
}

static void say(World *w, const char *text) {
        if (w->client < 0)
                w->client = connect_to(w);
        assert_int_equal(send(w->client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
        run_for(w, 5 * USEC_PER_MSEC);
}

/* What was said since the last time, all of it. */
static void heard(World *w, const char *text) {
        for (unsigned i = 0; i < 100 && w->n_got < strlen(text); i++)
                run_for(w, USEC_PER_MSEC);
        assert_string_equal(w->got, text);
        w->n_got = 0;
        w->got[0] = 0;
}

static void expect_end(World *w) {
        for (unsigned i = 0; i < 100 && !w->ended; i++)
                run_for(w, 5 * USEC_PER_MSEC);
        assert_true(w->ended);
        disconnect(w);
        turn(w, 5 * USEC_PER_MSEC);
        assert_int_equal(connections_count(w->connections), 0);
}

/* --- Tests ---------------------------------------------------------------------------------------------------------------- */

static void each_line_has_its_line(void **state) {
        World *w = *state;

        say(w, "one\n");
        heard(w, "<one:3>\n");
        assert_ptr_equal(last_caller, &the_caller);
        say(w, "two\nthree\r\n\n  \nnothing\nfour\n");
        heard(w, "<two:3>\n<three\r:6>\n<four:4>\n");
        assert_int_equal(n_calls, 5);
}

static void a_line_may_come_in_pieces(void **state) {
        World *w = *state;

        say(w, "o");
        say(w, "n");
        say(w, "e");
        heard(w, "");
        say(w, "\ntw");
        heard(w, "<one:3>\n");
        say(w, "o\n");
        heard(w, "<two:3>\n");
}

static void answers_come_when_they_are_ready(void **state) {
        World *w = *state;

        say(w, "later 1\nlater 2\nnow\n");
        heard(w, "<now:3>\n");
        done_with(requests[1].done, requests[1].userdata, "second");
        heard(w, "second\n");
        done_with(requests[0].done, requests[0].userdata, "first");
        heard(w, "first\n");
}

static void at_most_so_many_are_under_way(void **state) {
        World *w = *state;
        char text[32];

        for (unsigned i = 0; i < LINE_REQUESTS_MAX; i++) {
                snprintf(text, sizeof(text), "later %u\n", i);
                say(w, text);
        }
        say(w, "now\nlater x\nagain\n");
        heard(w, "");
        assert_int_equal(n_calls, LINE_REQUESTS_MAX);
        done_with(requests[5].done, requests[5].userdata, "fifth");
        heard(w, "fifth\n<now:3>\n");
        assert_int_equal(n_calls, LINE_REQUESTS_MAX + 2);
        done_with(requests[6].done, requests[6].userdata, "sixth");
        heard(w, "sixth\n<again:5>\n");
        disconnect(w);
        turn(w, 10 * USEC_PER_MSEC);
        assert_int_equal(n_abandoned, LINE_REQUESTS_MAX - 1);
}

static void lines_are_bounded(void **state) {
        World *w = *state;
        static char text[2 * REQUEST_MAX];
        size_t sent = 0;
        ssize_t n;

        memset(text, 'x', sizeof(text));
        text[REQUEST_MAX] = '\n';
        text[REQUEST_MAX + 1] = 0;
        say(w, text);
        heard(w, "<xxxxxxxxxxxxxxxxxxxx:100000>\n");
        memset(text, 'x', sizeof(text));
        while (sent < sizeof(text) && !w->ended) {
                n = send(w->client, text + sent, MIN2(sizeof(text) - sent, 1000u), MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n > 0)
                        sent += n;
                run_for(w, USEC_PER_MSEC / 10);
        }
        assert_non_null(strstr(w->got, "The line is too long."));
        expect_end(w);
        assert_int_equal(n_calls, 1);
}

static void identification_may_take_a_while(void **state) {
        World *w = *state;

        auth_says = 0;
        say(w, "one\n");
        assert_int_equal(n_calls, 0);
        the_query.done(0, NULL, &the_caller, the_query.userdata);
        heard(w, "<one:3>\n");
        say(w, "two\n");
        the_query.done(-EBUSY, "Too many.", NULL, the_query.userdata);
        run_for(w, 5 * USEC_PER_MSEC);
        assert_non_null(strstr(w->got, "\"code\":-32002,"));
        disconnect(w);
        turn(w, 5 * USEC_PER_MSEC);
        say(w, "three\n");
        disconnect(w);
        turn(w, 5 * USEC_PER_MSEC);
        assert_int_equal(n_cancelled, 1);
        assert_int_equal(n_calls, 1);
}

static void who_is_nobody_asks_as_nobody(void **state) {
        World *w = *state;

        auth_says = -EACCES;
        say(w, "one\n");
        heard(w, "<one:3>\n");
        assert_null(last_caller);
        auth_says = -EBUSY;
        say(w, "one\n");
        assert_non_null(strstr(w->got, "\"code\":-32002,"));
        assert_int_equal(n_calls, 1);
}

static void without_memory_there_is_an_answer(void **state) {
        World *w = *state;

        say(w, "no memory\n");
        assert_non_null(strstr(w->got, "\"code\":-32603,"));
}

static void a_half_closed_socket_has_its_answers(void **state) {
        World *w = *state;

        say(w, "later\nlast");
        assert_int_equal(shutdown(w->client, SHUT_WR), 0);
        heard(w, "<last:4>\n");
        assert_false(w->ended);
        done_with(requests[0].done, requests[0].userdata, "first");
        heard(w, "first\n");
        expect_end(w);
}

static void what_was_said_before_leaving_holds(void **state) {
        World *w = *state;
        int fd = connect_to(w);

        turn(w, 5 * USEC_PER_MSEC);
        assert_int_equal(send(fd, "one\nlater\n", 10, MSG_NOSIGNAL), 10);
        close(fd);
        turn(w, 5 * USEC_PER_MSEC);
        assert_int_equal(n_calls, 2);
        assert_int_equal(n_abandoned, 1);
        assert_int_equal(connections_count(w->connections), 0);
}

static void much_is_sent_as_it_is_taken(void **state) {
        World *w = *state;
        size_t n = 0, lines = 0;

        w->client = connect_to(w);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(send(w->client, "much\n", 5, MSG_NOSIGNAL), 5);
        turn(w, 20 * USEC_PER_MSEC);
        assert_true(n_calls < 10); /* it is not read any further */
        while (lines < 20) {
                ssize_t k = recv(w->client, w->got, sizeof(w->got), MSG_DONTWAIT);

                if (k <= 0) {
                        assert_true(k < 0 && errno == EAGAIN);
                        turn(w, USEC_PER_MSEC / 5);
                        continue;
                }
                for (ssize_t i = 0; i < k; i++)
                        lines += w->got[i] == '\n';
                n += k;
        }
        assert_int_equal(n, 20 * (MUCH + 1));
}

static void who_does_not_read_is_cut_off(void **state) {
        World *w = *state;

        w->client = connect_to(w);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(send(w->client, "much\n", 5, MSG_NOSIGNAL), 5);
        turn(w, 4 * TIMEOUT);
        assert_int_equal(connections_count(w->connections), 0);
}

static void slow_lines_are_cut_off(void **state) {
        World *w = *state;

        say(w, "one\ntw");
        heard(w, "<one:3>\n");
        for (unsigned i = 0; i < 8 && !w->ended; i++) {
                run_for(w, TIMEOUT / 4);
                (void) send(w->client, "o", 1, MSG_NOSIGNAL);
        }
        assert_true(w->ended);
        disconnect(w);
        say(w, "one\n");
        heard(w, "<one:3>\n");
        run_for(w, 2 * TIMEOUT);
        assert_false(w->ended);
        run_for(w, 2 * TIMEOUT);
        assert_true(w->ended);
}

static void calls_have_no_deadline(void **state) {
        World *w = *state;

        say(w, "later\n");
        run_for(w, 5 * TIMEOUT);
        done_with(requests[0].done, requests[0].userdata, "at last");
        heard(w, "at last\n");
}

static void idle_ones_make_room(void **state) {
        World *w = *state;
        int others[2];

        say(w, "one\n");
        heard(w, "<one:3>\n");
        others[0] = connect_to(w);
        turn(w, 5 * USEC_PER_MSEC);
        others[1] = connect_to(w);
        run_for(w, 20 * USEC_PER_MSEC);
        assert_true(w->ended);
        assert_int_equal(connections_count(w->connections), 2);
        close(others[0]);
        close(others[1]);
}

static void drained(void *userdata) {
        ((World *) userdata)->drained = true;
}

static void at_the_end_calls_under_way_have_their_answer(void **state) {
        World *w = *state;

        say(w, "later\n");
        line_stop_listening(w->line);
        assert_int_equal(connections_drain(w->connections, USEC_PER_SEC, drained, w), 0);
        say(w, "two\n");
        assert_int_equal(n_calls, 1);
        assert_false(w->drained);
        done_with(requests[0].done, requests[0].userdata, "bye");
        heard(w, "bye\n");
        expect_end(w);
        assert_true(w->drained);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(each_line_has_its_line),
                TEST(a_line_may_come_in_pieces),
                TEST(answers_come_when_they_are_ready),
                TEST(at_most_so_many_are_under_way),
                TEST(lines_are_bounded),
                TEST(identification_may_take_a_while),
                TEST(who_is_nobody_asks_as_nobody),
                TEST(without_memory_there_is_an_answer),
                TEST(a_half_closed_socket_has_its_answers),
                TEST(what_was_said_before_leaving_holds),
                TEST(much_is_sent_as_it_is_taken),
                TEST(who_does_not_read_is_cut_off),
                TEST(slow_lines_are_cut_off),
                TEST(calls_have_no_deadline),
                TEST(idle_ones_make_room),
                TEST(at_the_end_calls_under_way_have_their_answer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
