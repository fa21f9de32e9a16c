/* SPDX-License-Identifier: Apache-2.0 */

/* With the real hero-mycelium, against a small daemon of our own in the same event loop, which answers, stalls and goes away
 * as it is told. */

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "network/mycelium.h"

#define NEW_SHAPE                                                                                                   \
        "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\",\"nodeIp\":\"54f:b680:ba6e:7ced:abcd:1234:5678:9abc\","        \
        "\"nodePubkey\":\"02468ace13579bdf02468ace13579bdf02468ace13579bdf02468ace13579bdf\","                      \
        "\"nodeStartTime\":1716100000}"
#define OLD_SHAPE                                                                                                   \
        "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\","                                                              \
        "\"nodePubkey\":\"02468ace13579bdf02468ace13579bdf02468ace13579bdf02468ace13579bdf\"}"
#define OTHER_SUBNET "{\"nodeSubnet\":\"406:8c1c:927b:ff1f::/64\",\"nodePubkey\":\"x\"}"
#define OK_HEAD "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

#define LIMIT_USEC (10 * USEC_PER_SEC)

typedef struct Fixture {
        sd_event *event;
        /* The daemon */
        int port;
        sd_event_source *listening, *connection[64];
        int fd[64];
        unsigned n_connections;
        char *answer; /* NULL: none, and the connection stays open */
        bool close;
        uint64_t asked[64];
        unsigned n_asked, n_wrong;
        sd_event_source *trickle;
        /* What is tested */
        Mycelium *mycelium;
        unsigned n_subnets, n_failures;
        int error;
} Fixture;

static int on_request(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Fixture *f = userdata;
        char request[4096];
        ssize_t n;

        n = recv(fd, request, sizeof(request) - 1, MSG_DONTWAIT);
        if (n <= 0)
                return sd_event_source_set_enabled(s, SD_EVENT_OFF);
        request[n] = 0;
        if (!startswith(request, "GET /api/v1/admin HTTP/1.1\r\n") || !strstr(request, "\r\n\r\n") ||
            !strstr(request, "Accept: application/json\r\n"))
                f->n_wrong++;
        assert_true(f->n_asked < ELEMENTSOF(f->asked));
        f->asked[f->n_asked++] = now_usec(CLOCK_MONOTONIC);
        if (f->answer)
                (void) send(fd, f->answer, strlen(f->answer), MSG_NOSIGNAL);
        if (f->close)
                (void) shutdown(fd, SHUT_WR);
        return 0;
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Fixture *f = userdata;
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        assert_true(c >= 0);
        assert_true(f->n_connections < ELEMENTSOF(f->fd));
        f->fd[f->n_connections] = c;
        return sd_event_add_io(f->event, &f->connection[f->n_connections++], c, EPOLLIN, on_request, f);
}

static void daemon_start(Fixture *f) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons((uint16_t) f->port) };
        socklen_t n = sizeof(a);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

        assert_true(fd >= 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
        assert_int_equal(listen(fd, 16), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &a, &n), 0);
        f->port = ntohs(a.sin_port);
        assert_true(sd_event_add_io(f->event, &f->listening, fd, EPOLLIN, on_connection, f) >= 0);
        assert_true(sd_event_source_set_io_fd_own(f->listening, true) >= 0);
}

static void daemon_stop(Fixture *f) {
        f->listening = sd_event_source_disable_unref(f->listening);
        for (unsigned i = 0; i < f->n_connections; i++) {
                f->connection[i] = sd_event_source_disable_unref(f->connection[i]);
                safe_close(f->fd[i]);
        }
        f->n_connections = 0;
}

static void set_answer(Fixture *f, const char *answer, bool close_it) {
        assert_int_equal(free_and_strdup(&f->answer, answer), 0);
        f->close = close_it;
}

static void set_body(Fixture *f, const char *body) {
        _cleanup_free_ char *answer = strprintf(OK_HEAD "content-length: %zu\r\n\r\n%s", strlen(body), body);

        set_answer(f, answer, false);
}

static void on_subnet(Mycelium *m, const Subnet *subnet, void *userdata) {
        Fixture *f = userdata;

        assert_true(subnet_equal(subnet, mycelium_subnet(m)));
        assert_int_equal(mycelium_result(m), 0);
        f->n_subnets++;
}

static void on_failed(Mycelium *m, int error, void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(error, mycelium_result(m));
        assert_true(strlen(mycelium_error_text(m)) > 0);
        f->n_failures++;
        f->error = error;
}

static const MyceliumEvents events = { .subnet = on_subnet, .failed = on_failed };

static int new_fixture(void **state) {
        Fixture *f = new0(Fixture, 1);

        if (!f || sd_event_new(&f->event) < 0)
                return -1;
        *state = f;
        daemon_start(f);
        return 0;
}

static int free_fixture(void **state) {
        Fixture *f = *state;

        mycelium_free(f->mycelium);
        sd_event_source_disable_unref(f->trickle);
        daemon_stop(f);
        sd_event_unref(f->event);
        free(f->answer);
        free(f);
        return 0;
}

static void ask(Fixture *f, MyceliumOptions o) {
        _cleanup_free_ char *url = strprintf("http://127.0.0.1:%d/api/v1/admin", f->port);

        o.url = url;
        o.retry_min_usec = o.retry_min_usec ?: LIMIT_USEC;
        o.refresh_usec = o.refresh_usec ?: LIMIT_USEC;
        assert_int_equal(mycelium_new(f->event, &o, &events, f, &f->mycelium), 0);
        assert_int_equal(mycelium_result(f->mycelium), -EINPROGRESS);
        assert_null(mycelium_subnet(f->mycelium));
}

#define RUN_UNTIL(f, condition)                                                                 \
        do {                                                                                    \
                uint64_t _end = now_usec(CLOCK_MONOTONIC) + LIMIT_USEC;                         \
                while (!(condition)) {                                                          \
                        assert_true(sd_event_run((f)->event, 100 * USEC_PER_MSEC) >= 0);        \
                        if (now_usec(CLOCK_MONOTONIC) > _end)                                   \
                                fail_msg("Never: %s", #condition);                              \
                }                                                                               \
        } while (false)

static void run_for(Fixture *f, uint64_t usec) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + usec, now;

        while ((now = now_usec(CLOCK_MONOTONIC)) < end)
                assert_true(sd_event_run(f->event, end - now) >= 0);
}

static void assert_subnet(Fixture *f, const char *expected) {
        char text[SUBNET_STRING_MAX];

        assert_non_null(mycelium_subnet(f->mycelium));
        assert_string_equal(subnet_format(text, mycelium_subnet(f->mycelium)), expected);
}

static void subnet_is_learnt_from_both_shapes(void **state) {
        static const char *const shapes[] = { NEW_SHAPE, OLD_SHAPE };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(shapes); i++) {
                f->n_subnets = 0;
                set_body(f, shapes[i]);
                ask(f, (MyceliumOptions) {});
                RUN_UNTIL(f, f->n_subnets == 1);
                assert_subnet(f, "54f:b680:ba6e:7ced::/64");
                assert_string_equal(mycelium_error_text(f->mycelium), "");
                f->mycelium = mycelium_free(f->mycelium);
        }
        assert_int_equal(f->n_asked, 2);
        assert_int_equal(f->n_wrong, 0);
        assert_int_equal(f->n_failures, 0);
}

static void subnet_is_learnt_from_a_body_in_chunks_or_without_length(void **state) {
        static const char *const answers[] = {
                OK_HEAD "transfer-encoding: chunked\r\n\r\n"
                        "e\r\n{\"nodeSubnet\":\r\n1a\r\n\"54f:b680:ba6e:7ced::/64\"}\r\n0\r\n\r\n",
                "HTTP/1.0 200 OK\r\n\r\n" OLD_SHAPE,
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                f->n_subnets = 0;
                set_answer(f, answers[i], true);
                ask(f, (MyceliumOptions) {});
                RUN_UNTIL(f, f->n_subnets + f->n_failures > 0);
                assert_int_equal(f->n_failures, 0);
                assert_subnet(f, "54f:b680:ba6e:7ced::/64");
                f->mycelium = mycelium_free(f->mycelium);
        }
}

static void parse_takes_only_what_mycelium_gives(void **state) {
        static const char *const bad[] = {
                "",
                " ",
                "null",
                "7",
                "[]",
                "{}",
                "\"54f:b680:ba6e:7ced::/64\"",
                "[{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\"}]",
                "{\"nodeSubnet\":null}",
                "{\"nodeSubnet\":7}",
                "{\"nodeSubnet\":[\"54f:b680:ba6e:7ced::/64\"]}",
                "{\"nodeSubnet\":{\"subnet\":\"54f:b680:ba6e:7ced::/64\"}}",
                "{\"nodesubnet\":\"54f:b680:ba6e:7ced::/64\"}",
                "{\"result\":{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\"}}",
                "{\"nodeSubnet\":\"\"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::\"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/63\"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/65\"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64 \"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\\u0000\"}",
                "{\"nodeSubnet\":\"10.0.0.0/8\"}",
                "{\"nodeSubnet\":\"fd00::/64\"}",
                "{\"nodeSubnet\":\"2001:db8::/64\"}",
                "{\"nodeSubnet\":\"600::/64\"}",
                "{\"nodeSubnet\":\"::/64\"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\"",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\"} x",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\",\"nodeSubnet\":\"500::/64\"}",
                "{\"nodeSubnet\":\"54f:b680:ba6e:7ced::/64\",\"x\":\"\xff\"}",
                "<html>",
        };
        Subnet s = { .prefix = 7 };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (mycelium_parse(bad[i], strlen(bad[i]), &s) != -EBADMSG)
                        fail_msg("taken: %s", bad[i]);
        for (size_t n = 0; n < strlen(NEW_SHAPE); n++)
                assert_int_equal(mycelium_parse(NEW_SHAPE, n, &s), -EBADMSG);
        assert_int_equal(mycelium_parse(NEW_SHAPE "\0", sizeof(NEW_SHAPE), &s), -EBADMSG);
        assert_int_equal(s.prefix, 7);
        assert_int_equal(mycelium_parse(NEW_SHAPE, strlen(NEW_SHAPE), &s), 0);
        assert_int_equal(mycelium_parse(NEW_SHAPE "\n", strlen(NEW_SHAPE) + 1, &s), 0);
}

static void whole_address_is_masked_to_the_subnet(void **state) {
        static const char body[] = "{\"nodeSubnet\":\"5ff:1:2:3:4:5:6:7/64\"}";
        char text[SUBNET_STRING_MAX];
        Subnet s;

        assert_int_equal(mycelium_parse(body, strlen(body), &s), 0);
        assert_string_equal(subnet_format(text, &s), "5ff:1:2:3::/64");
}

static void bad_answers_are_told_apart(void **state) {
        static const struct {
                const char *answer;
                int error;
        } cases[] = {
                { OK_HEAD "content-length: 2\r\n\r\n{}", -EBADMSG },
                { OK_HEAD "content-length: 0\r\n\r\n", -EBADMSG },
                { OK_HEAD "\r\n{\"nodeSubnet\":\"54f:b6", -EBADMSG },
                { OK_HEAD "content-length: 500\r\n\r\n" NEW_SHAPE, -ECONNRESET },
                { OK_HEAD "transfer-encoding: chunked\r\n\r\n80\r\n{\"nodeSub", -ECONNRESET },
                { OK_HEAD "content-le", -EBADMSG },
                { "", -ECONNRESET },
                { "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", -EPROTO },
                { "HTTP/1.1 500 Oops\r\n\r\n" NEW_SHAPE, -EPROTO },
                { "HTTP/1.1 204 No Content\r\n\r\n", -EPROTO },
                { "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", -EPROTO },
                { "SSH-2.0-OpenSSH_9.2p1\r\n", -EPROTO },
                { OK_HEAD "content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc", -EBADMSG },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                f->n_failures = 0;
                set_answer(f, cases[i].answer, true);
                ask(f, (MyceliumOptions) {});
                RUN_UNTIL(f, f->n_failures == 1);
                if (f->error != cases[i].error)
                        fail_msg("case %zu: %d (%s)", i, f->error, mycelium_error_text(f->mycelium));
                assert_null(mycelium_subnet(f->mycelium));
                f->mycelium = mycelium_free(f->mycelium);
        }
        assert_int_equal(f->n_subnets, 0);
}

static void answer_without_end_is_cut(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *much = malloc(40001), *answer = NULL;

        memset(much, ' ', 40000);
        much[40000] = 0;
        answer = strprintf(OK_HEAD "\r\n%s", much);
        set_answer(f, answer, false);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_failures == 1);
        assert_int_equal(f->error, -E2BIG);
        f->mycelium = mycelium_free(f->mycelium);

        /* The same in its head. */
        answer = mfree(answer);
        for (char *p = much; p + 100 < much + 40000; p += 100)
                memcpy(p, "\r\nx: ", 5);
        answer = strprintf(OK_HEAD "x: %s", much);
        set_answer(f, answer, false);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_failures == 2);
        assert_int_equal(f->error, -E2BIG);
}

static void silent_daemon_times_out_and_blocks_nobody(void **state) {
        uint64_t start = now_usec(CLOCK_MONOTONIC), spent;
        Fixture *f = *state;
        unsigned rounds = 0;

        set_answer(f, NULL, false);
        ask(f, (MyceliumOptions) { .timeout_usec = USEC_PER_SEC });
        while (f->n_failures == 0 && now_usec(CLOCK_MONOTONIC) < start + LIMIT_USEC) {
                uint64_t before = now_usec(CLOCK_MONOTONIC);

                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
                assert_true(now_usec(CLOCK_MONOTONIC) - before < 900 * USEC_PER_MSEC);
                rounds++;
        }
        spent = now_usec(CLOCK_MONOTONIC) - start;
        assert_int_equal(f->error, -ETIMEDOUT);
        assert_true(rounds > 5);
        assert_true(spent >= 990 * USEC_PER_MSEC);
}

static int on_trickle(sd_event_source *s, uint64_t usec, void *userdata) {
        Fixture *f = userdata;

        if (f->n_asked > 0)
                (void) send(f->fd[f->n_connections - 1], " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void) sd_event_source_set_time_relative(s, 20 * USEC_PER_MSEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void drop_by_drop_is_too_slow(void **state) {
        Fixture *f = *state;

        set_answer(f, OK_HEAD "\r\n", false);
        assert_true(sd_event_add_time_relative(f->event, &f->trickle, CLOCK_MONOTONIC, 20 * USEC_PER_MSEC, 1, on_trickle,
                                               f) >= 0);
        ask(f, (MyceliumOptions) { .timeout_usec = 300 * USEC_PER_MSEC });
        RUN_UNTIL(f, f->n_failures == 1);
        assert_int_equal(f->error, -ETIMEDOUT);
}

static void daemon_may_start_later(void **state) {
        Fixture *f = *state;

        daemon_stop(f);
        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) { .retry_min_usec = 50 * USEC_PER_MSEC, .retry_max_usec = 100 * USEC_PER_MSEC });
        RUN_UNTIL(f, f->n_failures == 1);
        assert_int_equal(f->error, -ECONNREFUSED);
        run_for(f, 300 * USEC_PER_MSEC);
        assert_int_equal(f->n_failures, 1); /* told of once */
        daemon_start(f);
        RUN_UNTIL(f, f->n_subnets == 1);
        assert_subnet(f, "54f:b680:ba6e:7ced::/64");
}

static void pauses_grow_to_their_limit(void **state) {
        uint64_t gap[6];
        Fixture *f = *state;

        set_answer(f, "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", false);
        ask(f, (MyceliumOptions) { .retry_min_usec = 100 * USEC_PER_MSEC, .retry_max_usec = 400 * USEC_PER_MSEC });
        RUN_UNTIL(f, f->n_asked == 7);
        for (unsigned i = 0; i < ELEMENTSOF(gap); i++)
                gap[i] = f->asked[i + 1] - f->asked[i];
        assert_true(gap[0] >= 100 * USEC_PER_MSEC);
        assert_true(gap[1] >= 200 * USEC_PER_MSEC);
        for (unsigned i = 2; i < ELEMENTSOF(gap); i++)
                assert_true(gap[i] >= 400 * USEC_PER_MSEC);
        assert_true(gap[5] < 3000 * USEC_PER_MSEC); /* 3.2 s, did they grow further */
        assert_int_equal(f->n_failures, 1);
}

static void change_of_the_subnet_is_told(void **state) {
        Fixture *f = *state;

        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) { .refresh_usec = 50 * USEC_PER_MSEC });
        RUN_UNTIL(f, f->n_asked >= 4);
        assert_int_equal(f->n_subnets, 1); /* the same again is nothing to tell */
        set_body(f, OTHER_SUBNET);
        RUN_UNTIL(f, f->n_subnets == 2);
        assert_subnet(f, "406:8c1c:927b:ff1f::/64");
        assert_int_equal(f->n_failures, 0);
}

static void what_was_learnt_outlives_the_daemon(void **state) {
        Fixture *f = *state;

        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) { .retry_min_usec = 50 * USEC_PER_MSEC,
                                   .retry_max_usec = 50 * USEC_PER_MSEC,
                                   .refresh_usec = 50 * USEC_PER_MSEC });
        RUN_UNTIL(f, f->n_subnets == 1);
        daemon_stop(f);
        RUN_UNTIL(f, f->n_failures == 1);
        assert_int_equal(f->error, -ECONNREFUSED);
        assert_subnet(f, "54f:b680:ba6e:7ced::/64");
        daemon_start(f);
        RUN_UNTIL(f, mycelium_result(f->mycelium) == 0);
        assert_int_equal(f->n_subnets, 1);
        daemon_stop(f);
        RUN_UNTIL(f, f->n_failures == 2);
        set_body(f, OTHER_SUBNET);
        daemon_start(f);
        RUN_UNTIL(f, f->n_subnets == 2);
        assert_subnet(f, "406:8c1c:927b:ff1f::/64");
}

static void refresh_asks_at_once(void **state) {
        Fixture *f = *state;

        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) {}); /* the next question by itself: after this test */
        RUN_UNTIL(f, f->n_subnets == 1);
        set_body(f, OTHER_SUBNET);
        assert_int_equal(mycelium_refresh(f->mycelium), 0);
        RUN_UNTIL(f, f->n_subnets == 2);
        assert_int_equal(f->n_asked, 2);
}

static void refresh_during_a_question_asks_once_more(void **state) {
        Fixture *f = *state;

        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_asked == 1); /* answered, but not read yet */
        assert_int_equal(f->n_subnets, 0);
        set_body(f, OTHER_SUBNET);
        assert_int_equal(mycelium_refresh(f->mycelium), 0);
        RUN_UNTIL(f, f->n_subnets == 2);
        assert_subnet(f, "406:8c1c:927b:ff1f::/64");
        run_for(f, 100 * USEC_PER_MSEC);
        assert_int_equal(f->n_asked, 2);
}

static void no_proxy_is_asked(void **state) {
        Fixture *f = *state;

        assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
        assert_int_equal(setenv("all_proxy", "http://127.0.0.1:1", 1), 0);
        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_subnets + f->n_failures > 0);
        assert_int_equal(f->n_subnets, 1);
        assert_int_equal(unsetenv("http_proxy"), 0);
        assert_int_equal(unsetenv("all_proxy"), 0);
}

static unsigned count_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        (void) closedir(d);
        return n;
}

static void freed_in_the_middle_it_leaves_nothing(void **state) {
        Fixture *f = *state;
        unsigned before;

        ask(f, (MyceliumOptions) {}); /* the loop makes itself a timer for the first, and keeps it */
        f->mycelium = mycelium_free(f->mycelium);
        before = count_fds();
        set_answer(f, OK_HEAD "content-length: 500\r\n\r\n{", false);
        for (unsigned steps = 0; steps < 12; steps++) {
                unsigned asked = f->n_asked;

                ask(f, (MyceliumOptions) {});
                for (unsigned i = 0; i < steps; i++)
                        assert_true(sd_event_run(f->event, 5 * USEC_PER_MSEC) >= 0);
                if (steps % 4 == 3)
                        RUN_UNTIL(f, f->n_asked > asked); /* its question is here, and half of the answer there */
                f->mycelium = mycelium_free(f->mycelium);
                assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, not even as a zombie */
                run_for(f, 10 * USEC_PER_MSEC);
        }
        assert_true(f->n_asked > 0);
        assert_int_equal(count_fds(), before + f->n_connections); /* the daemon's ends */
}

static void between_two_questions_nothing_is_open(void **state) {
        Fixture *f = *state;
        unsigned before;

        set_body(f, NEW_SHAPE);
        ask(f, (MyceliumOptions) {});
        before = count_fds();
        RUN_UNTIL(f, f->n_subnets == 1);
        assert_int_equal(count_fds(), before + f->n_connections); /* the daemon's ends */
        for (unsigned i = 2; i < 10; i++) {
                assert_int_equal(mycelium_refresh(f->mycelium), 0);
                RUN_UNTIL(f, f->n_asked == i);
        }
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(count_fds(), before + f->n_connections);
}

static void only_http_is_spoken(void **state) {
        static const char *const bad[] = { "", "file:///etc/passwd", "https://127.0.0.1/", "ftp://127.0.0.1/", "http://",
                                           "gopher://127.0.0.1/", "http://[::1", "http://127.0.0.1:99999/", "http:///x",
                                           "http://:80/", "http://[::1]80/", "http://127.0.0.1:0/", "http://127.0.0.1:8 /",
                                           "http://127.0.0.1:-1/", "http://me:secret@127.0.0.1/", "--help" };
        static const char *const good[] = { "http://localhost", "http://127.0.0.1:8989/api/v1/admin", "http://[::1]:80?x",
                                            "http://[::1]/", "http://mycelium.example/a:b@c" };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                MyceliumOptions o = { .url = bad[i] };

                assert_int_equal(mycelium_new(f->event, &o, &events, f, &f->mycelium), -EINVAL);
                assert_null(f->mycelium);
        }
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                MyceliumOptions o = { .url = good[i] };

                assert_int_equal(mycelium_new(f->event, &o, &events, f, &f->mycelium), 0);
                f->mycelium = mycelium_free(f->mycelium);
        }
}

/* The only child there is. */
static pid_t find_child(void) {
        char path[64], text[32] = "";
        FILE *file;

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
        file = fopen(path, "re");
        assert_non_null(file);
        assert_non_null(fgets(text, sizeof(text), file));
        (void) fclose(file);
        return (pid_t) atoi(text);
}

static bool process_has(pid_t pid, const char *expected) {
        char path[64], line[256];
        bool found = false;
        FILE *file;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", pid);
        file = fopen(path, "re");
        assert_non_null(file);
        while (!found && fgets(line, sizeof(line), file))
                found = streq(line, expected);
        (void) fclose(file);
        return found;
}

static void who_asks_has_no_privileges(void **state) {
        static const char *const always[] = { "NoNewPrivs:\t1\n", "CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
                                              "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n" };
        static const char *const of_root[] = { "Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n",
                                               "Groups:\t \n", "CapBnd:\t0000000000000000\n" };
        Fixture *f = *state;
        pid_t child;

        set_answer(f, NULL, false);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_asked == 1);
        child = find_child();
        for (size_t i = 0; i < ELEMENTSOF(always); i++)
                if (!process_has(child, always[i]))
                        fail_msg("not so: %s", always[i]);
        for (size_t i = 0; geteuid() == 0 && i < ELEMENTSOF(of_root); i++)
                if (!process_has(child, of_root[i]))
                        fail_msg("not so: %s", of_root[i]);
}

static void one_that_is_killed_is_a_failure(void **state) {
        Fixture *f = *state;

        set_answer(f, NULL, false);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_asked == 1);
        assert_int_equal(kill(find_child(), SIGKILL), 0);
        RUN_UNTIL(f, f->n_failures == 1);
        assert_int_equal(f->error, -EIO);
        assert_string_equal(mycelium_error_text(f->mycelium), "hero-mycelium was ended by signal 9");
        set_body(f, NEW_SHAPE);
        assert_int_equal(mycelium_refresh(f->mycelium), 0);
        RUN_UNTIL(f, f->n_subnets == 1);
}

/* As one would that what it read has taken over: exits with status, having printed text. */
static void run_liar(Fixture *f, const char *directory, const char *text, int status) {
        _cleanup_free_ char *path = strprintf("%s/hero-mycelium", directory),
                            *script = strprintf("#!/bin/sh\ncat <<'end'\n%s\nend\nexit %d\n", text, status);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, script, strlen(script)), 0);
        safe_close(fd);
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_failures > 0);
        assert_null(mycelium_subnet(f->mycelium));
        assert_int_equal(unlink(path), 0);
}

static void what_it_says_is_not_believed(void **state) {
        static const char *const bad[] = { "", "x", "fd00::/64", "600::/64", "400::/63", "54f:b680:ba6e:7ced::/64 ",
                                           "\n54f:b680:ba6e:7ced::/64" };
        _cleanup_free_ char *before = strdup(getenv("HERO_LIBEXEC_DIR")), *much = malloc(2001);
        char directory[] = "/tmp/test-mycelium-XXXXXX";
        Fixture *f = *state;

        assert_non_null(mkdtemp(directory));
        assert_int_equal(setenv("HERO_LIBEXEC_DIR", directory, 1), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                run_liar(f, directory, bad[i], 0);
                assert_int_equal(f->error, -EBADMSG);
                f->mycelium = mycelium_free(f->mycelium);
                f->n_failures = 0;
        }
        run_liar(f, directory, "a\033[2Jb\nsecond line", EPROTO);
        assert_int_equal(f->error, -EPROTO);
        assert_string_equal(mycelium_error_text(f->mycelium), "a?[2Jb");
        f->mycelium = mycelium_free(f->mycelium);
        f->n_failures = 0;
        memset(much, 'x', 2000);
        much[2000] = 0;
        run_liar(f, directory, much, EPROTO);
        assert_true(strlen(mycelium_error_text(f->mycelium)) < 300);
        f->mycelium = mycelium_free(f->mycelium);
        f->n_failures = 0;

        /* Nor is it there any more. */
        ask(f, (MyceliumOptions) {});
        RUN_UNTIL(f, f->n_failures == 1);
        assert_int_equal(f->error, -ENOENT);
        assert_int_equal(setenv("HERO_LIBEXEC_DIR", before, 1), 0);
        set_body(f, NEW_SHAPE);
        assert_int_equal(mycelium_refresh(f->mycelium), 0);
        RUN_UNTIL(f, f->n_subnets == 1);
        assert_int_equal(rmdir(directory), 0);
}

int main(void) {
#define MYCELIUM_TEST(f) cmocka_unit_test_setup_teardown(f, new_fixture, free_fixture)
        const struct CMUnitTest tests[] = {
                MYCELIUM_TEST(subnet_is_learnt_from_both_shapes),
                MYCELIUM_TEST(subnet_is_learnt_from_a_body_in_chunks_or_without_length),
                cmocka_unit_test(parse_takes_only_what_mycelium_gives),
                cmocka_unit_test(whole_address_is_masked_to_the_subnet),
                MYCELIUM_TEST(bad_answers_are_told_apart),
                MYCELIUM_TEST(answer_without_end_is_cut),
                MYCELIUM_TEST(silent_daemon_times_out_and_blocks_nobody),
                MYCELIUM_TEST(drop_by_drop_is_too_slow),
                MYCELIUM_TEST(daemon_may_start_later),
                MYCELIUM_TEST(pauses_grow_to_their_limit),
                MYCELIUM_TEST(change_of_the_subnet_is_told),
                MYCELIUM_TEST(what_was_learnt_outlives_the_daemon),
                MYCELIUM_TEST(refresh_asks_at_once),
                MYCELIUM_TEST(refresh_during_a_question_asks_once_more),
                MYCELIUM_TEST(no_proxy_is_asked),
                MYCELIUM_TEST(freed_in_the_middle_it_leaves_nothing),
                MYCELIUM_TEST(between_two_questions_nothing_is_open),
                MYCELIUM_TEST(only_http_is_spoken),
                MYCELIUM_TEST(who_asks_has_no_privileges),
                MYCELIUM_TEST(one_that_is_killed_is_a_failure),
                MYCELIUM_TEST(what_it_says_is_not_believed),
        };
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
