/* SPDX-License-Identifier: Apache-2.0 */

/* With the real hero-jwks-fetch, started as PID 1 would, against a small issuer of our own in the same event loop, whose keys change,
 * which stalls and goes away as it is told. And with one that lies. */

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/auth.h"
#include "rpcd/tokens.h"
#include "shared/program-path.h"
#include "token-maker.h"

#define LIMIT_USEC (30 * USEC_PER_SEC)
#define PAUSE (300 * USEC_PER_MSEC)

typedef struct Fixture {
        sd_event *event;
        RpcConfig config;
        /* The issuer */
        json_t *old, *new;
        int port;
        sd_event_source *listening, *connections[16];
        int fds[16];
        unsigned n_connections, n_fetches;
        char *answer; /* NULL: none, and the connection stays open */
        /* hero-jwks-fetch.socket */
        struct sockaddr_un address;
        sd_event_source *fetcher;
        pid_t pids[16];
        int fetches[16];
        unsigned n_pids, n_asked;
        const char *lie; /* is said instead of starting it */
        bool hang;       /* and nothing more, nor the end */
        /* What is tested */
        Tokens *tokens;
        unsigned n_retries;
        Auth *auth;
        const char *why;
        Caller *caller;
        unsigned n_done;
        int error;
} Fixture;

static int on_request(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Fixture *f = userdata;
        char request[4096];
        ssize_t n = recv(fd, request, sizeof(request), MSG_DONTWAIT);

        if (n <= 0)
                return sd_event_source_set_enabled(s, SD_EVENT_OFF);
        f->n_fetches++;
        if (f->answer) {
                size_t size = strlen(f->answer);

                assert_int_equal(send(fd, f->answer, size, MSG_NOSIGNAL), size);
                (void) shutdown(fd, SHUT_WR);
        }
        return 0;
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Fixture *f = userdata;
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC), large = 1 << 20;

        assert_true(c >= 0);
        assert_true(f->n_connections < ELEMENTSOF(f->fds));
        (void) setsockopt(c, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large));
        f->fds[f->n_connections] = c;
        return sd_event_add_io(f->event, &f->connections[f->n_connections++], c, EPOLLIN, on_request, f);
}

static void issuer_start(Fixture *f) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t) f->port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
        socklen_t n = sizeof(a);

        assert_true(fd >= 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
        assert_int_equal(listen(fd, 16), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &a, &n), 0);
        f->port = ntohs(a.sin_port);
        assert_true(sd_event_add_io(f->event, &f->listening, fd, EPOLLIN, on_connection, f) >= 0);
        assert_true(sd_event_source_set_io_fd_own(f->listening, true) >= 0);
}

static void issuer_stop(Fixture *f) {
        f->listening = sd_event_source_disable_unref(f->listening);
        for (unsigned i = 0; i < f->n_connections; i++) {
                f->connections[i] = sd_event_source_disable_unref(f->connections[i]);
                safe_close(f->fds[i]);
        }
        f->n_connections = 0;
}

static pid_t spawn_fetcher(int fd) {
        _cleanup_free_ char *program = program_path("hero-jwks-fetch");
        posix_spawn_file_actions_t actions;
        pid_t pid;

        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
        assert_int_equal(posix_spawn(&pid, program, &actions, NULL, (char *[]) { program, NULL }, environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        return pid;
}

static int on_fetch(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC), large = 1 << 20;
        Fixture *f = userdata;

        assert_true(c >= 0);
        assert_true(f->n_asked < ELEMENTSOF(f->fetches));
        f->fetches[f->n_asked++] = c;
        if (!f->lie) {
                f->pids[f->n_pids++] = spawn_fetcher(c);
                safe_close(c);
                f->fetches[f->n_asked - 1] = -EBADF;
        } else {
                assert_int_equal(setsockopt(c, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)), 0);
                assert_int_equal(send(c, f->lie, strlen(f->lie), MSG_NOSIGNAL | MSG_DONTWAIT), strlen(f->lie));
                if (!f->hang)
                        (void) shutdown(c, SHUT_RDWR);
        }
        return 0;
}

static void fetcher_start(Fixture *f) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        f->address = (struct sockaddr_un) { .sun_family = AF_UNIX };
        (void) snprintf(f->address.sun_path, sizeof(f->address.sun_path), "/tmp/test-tokens-%d.sock", getpid());
        (void) unlink(f->address.sun_path);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &f->address, sizeof(f->address)), 0);
        assert_int_equal(listen(fd, 16), 0);
        assert_int_equal(setenv("HERO_JWKS_SOCKET", f->address.sun_path, 1), 0);
        assert_true(sd_event_add_io(f->event, &f->fetcher, fd, EPOLLIN, on_fetch, f) >= 0);
        assert_true(sd_event_source_set_io_fd_own(f->fetcher, true) >= 0);
}

static void fetcher_stop(Fixture *f) {
        f->fetcher = sd_event_source_disable_unref(f->fetcher);
        (void) unlink(f->address.sun_path);
        close_many(f->fetches, f->n_asked);
        for (unsigned i = 0; i < f->n_pids; i++) {
                (void) kill(f->pids[i], SIGKILL);
                assert_int_equal(waitpid(f->pids[i], NULL, 0), f->pids[i]);
        }
        f->n_asked = f->n_pids = 0;
}

static void set_body(Fixture *f, const char *body) {
        free(f->answer);
        f->answer = strprintf("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", strlen(body), body);
}

static void set_keys(Fixture *f, const json_t *const keys[], size_t n) {
        _cleanup_free_ char *set = key_set(keys, n);

        set_body(f, set);
}

static void on_retry(void *userdata) {
        Fixture *f = userdata;

        f->n_retries++;
}

static int new_fixture(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(rpc_config_defaults(&f->config), 0);
        f->old = make_key("ES256", "old");
        f->new = make_key("ES256", "new");
        issuer_start(f);
        fetcher_start(f);
        set_keys(f, (const json_t *[]) { f->old }, 1);
        free(f->config.jwks_url);
        f->config.jwks_url = strprintf("http://127.0.0.1:%d/jwks.json", f->port);
        f->config.oauth_enable = true;
        *state = f;
        return 0;
}

static int free_fixture(void **state) {
        Fixture *f = *state;

        caller_unref(f->caller);
        tokens_free(f->tokens);
        auth_free(f->auth);
        fetcher_stop(f);
        issuer_stop(f);
        rpc_config_done(&f->config);
        json_decref(f->old);
        json_decref(f->new);
        free(f->answer);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void start(Fixture *f, JwksOptions o) {
        o.pause_usec = o.pause_usec ?: PAUSE;
        assert_int_equal(tokens_new(f->event, &f->config, &o, on_retry, f, &f->tokens), 0);
}

static void run_for(Fixture *f, uint64_t usec) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + usec, now;

        while ((now = now_usec(CLOCK_MONOTONIC)) < end)
                assert_true(sd_event_run(f->event, end - now) >= 0);
}

/* Without waiting. */
static int identify_now(Fixture *f, const char *text, uid_t uid) {
        f->caller = caller_unref(f->caller);
        f->why = NULL;
        return tokens_identify(f->tokens, text, strlen(text), uid, &f->caller, &f->why);
}

static int identify(Fixture *f, const char *text) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + LIMIT_USEC;
        int r;

        while ((r = identify_now(f, text, 7)) == 0) {
                unsigned n = f->n_retries;

                while (f->n_retries == n) {
                        assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
                        assert_true(now_usec(CLOCK_MONOTONIC) < end);
                }
        }
        return r;
}

/* exp: seconds from now. */
static char *token_of(const json_t *key, const char *sub, int exp) {
        _cleanup_free_ char *header = strprintf("{\"alg\":\"ES256\",\"kid\":\"%s\"}", json_string_value(json_object_get(key, "kid"))),
                            *payload = NULL;

        payload = strprintf("{\"iss\":\"hero_auth\",\"aud\":\"hero-compute\",\"sub\":\"%s\",\"exp\":%lld}", sub,
                            (long long) (now_usec(CLOCK_REALTIME) / USEC_PER_SEC) + exp);
        return make_token(header, payload, key);
}

static void assert_refused(Fixture *f, int r, const char *word) {
        assert_int_equal(r, -EACCES);
        assert_null(f->caller);
        assert_non_null(f->why);
        if (!strstr(f->why, word))
                fail_msg("refused for another reason than %s: %s", word, f->why);
}

static void the_first_token_fetches_the_keys_and_the_second_does_not(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300), *bob = token_of(f->old, "bob", 300);

        start(f, (JwksOptions) {});
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->n_fetches, 0);
        assert_int_equal(identify_now(f, alice, 7), 0);
        assert_int_equal(identify(f, alice), 1);
        assert_string_equal(f->caller->user, "alice");
        assert_string_equal(f->caller->subject, "alice");
        assert_int_equal(f->caller->uid, 7);
        assert_false(f->caller->admin);
        assert_int_equal(identify_now(f, bob, 7), 1);
        assert_string_equal(f->caller->user, "bob");
        assert_int_equal(f->n_fetches, 1);
}

static void a_token_that_is_known_is_the_same_caller(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);
        _cleanup_(caller_unrefp) Caller *first = NULL;

        start(f, (JwksOptions) {});
        assert_int_equal(identify(f, alice), 1);
        first = caller_ref(f->caller);
        assert_int_equal(identify_now(f, alice, 7), 1);
        assert_ptr_equal(f->caller, first);
        assert_int_equal(identify_now(f, alice, UID_INVALID), 1);
        assert_ptr_not_equal(f->caller, first);
        assert_int_equal(f->caller->uid, UID_INVALID);
        assert_string_equal(f->caller->user, "alice");
}

#ifdef __SANITIZE_ADDRESS__
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t), void (*on_free)(const volatile void *));

static unsigned n_allocations;

static void on_malloc(const volatile void *p, size_t size) {
        n_allocations++;
}

static void on_free(const volatile void *p) {
}

static unsigned identify_thrice(Fixture *f, Peer *peer, const char *header) {
        unsigned before = n_allocations;

        for (unsigned i = 0; i < 3; i++) {
                AuthQuery *q;

                assert_int_equal(auth_identify(f->auth, peer, header, NULL, NULL, &q, &f->caller, &f->why), 1);
                f->caller = caller_unref(f->caller);
        }
        return n_allocations - before;
}

static void on_identified(int error, const char *why, Caller *caller, void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(error, 0);
        f->n_done++;
}

static void who_is_known_costs_no_allocation(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300), *header = strprintf("Bearer %s", alice);
        AuthQuery *q;
        Peer *peer;
        int fds[2];

        assert_true(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(auth_new(f->event, &f->config, &f->auth), 0);
        assert_int_equal(peer_new(f->auth, fds[0], &peer), 0);
        assert_true(identify_thrice(f, peer, NULL) > 0);
        assert_int_equal(identify_thrice(f, peer, NULL), 0);
        assert_int_equal(auth_identify(f->auth, peer, header, on_identified, f, &q, &f->caller, &f->why), 0);
        while (f->n_done == 0)
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
        assert_int_equal(identify_thrice(f, peer, header), 0);
        peer_free(peer);
        close_many(fds, 2);
}
#endif

static void one_that_is_known_expires_all_the_same(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", -58);

        start(f, (JwksOptions) {});
        assert_int_equal(identify(f, alice), 1);
        run_for(f, 2500 * USEC_PER_MSEC);
        assert_refused(f, identify_now(f, alice, 7), "expired");
}

static void known_ones_are_bounded(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);
        _cleanup_(caller_unrefp) Caller *first = NULL;

        start(f, (JwksOptions) {});
        assert_int_equal(identify(f, alice), 1);
        first = caller_ref(f->caller);
        for (unsigned i = 0; i < TOKENS_MAX; i++) {
                _cleanup_free_ char *name = strprintf("user%u", i), *text = token_of(f->old, name, 300);

                assert_int_equal(identify_now(f, text, 7), 1);
        }
        assert_int_equal(first->n_ref, 1); /* forgotten */
        assert_int_equal(identify_now(f, alice, 7), 1);
        assert_ptr_not_equal(f->caller, first);
}

static void a_new_key_is_fetched_when_a_token_names_it_and_the_old_one_ends(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *before = token_of(f->old, "alice", 300), *after = token_of(f->new, "alice", 300);

        start(f, (JwksOptions) {});
        assert_int_equal(identify(f, before), 1);
        run_for(f, PAUSE);
        set_keys(f, (const json_t *[]) { f->new }, 1);
        assert_int_equal(identify(f, after), 1);
        assert_int_equal(f->n_fetches, 2);
        assert_refused(f, identify_now(f, before, 7), "not one of the issuer's");
}

static void keys_that_nobody_has_are_asked_for_now_and_then_only(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *good = token_of(f->old, "alice", 300), *bad = token_of(f->new, "alice", 300);

        start(f, (JwksOptions) { .pause_usec = USEC_PER_SEC });
        assert_refused(f, identify(f, bad), "not one of the issuer's");
        for (unsigned i = 0; i < 20; i++) {
                assert_refused(f, identify(f, bad), "not one of the issuer's");
                assert_int_equal(identify_now(f, good, 7), 1);
        }
        assert_int_equal(f->n_fetches, 1);
        run_for(f, USEC_PER_SEC);
        assert_refused(f, identify(f, bad), "not one of the issuer's");
        assert_int_equal(f->n_fetches, 2);
        assert_int_equal(identify_now(f, good, 7), 1);
}

static void what_is_no_token_has_nothing_fetched_twice(void **state) {
        Fixture *f = *state;

        start(f, (JwksOptions) {});
        assert_refused(f, identify_now(f, "nonsense", 7), "compact form");
        assert_refused(f, identify_now(f, "eyJhbGciOiJub25lIn0.e30.AAAA", 7), "not signed by");
        run_for(f, 200 * USEC_PER_MSEC);
        assert_true(f->n_fetches <= 1);
}

static void without_keys_nobody_has_access(void **state) {
        static const char *const answers[] = {
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 500 Oops\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}",
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}",
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
                "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
                "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"keys\":[",
                "SSH-2.0-OpenSSH_9.2p1\r\n",
                "",
        };
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                assert_int_equal(free_and_strdup(&f->answer, answers[i]), 0);
                start(f, (JwksOptions) {});
                assert_refused(f, identify(f, alice), "cannot be had");
                assert_refused(f, identify_now(f, alice, 7), "cannot be had");
                f->tokens = tokens_free(f->tokens);
        }
        assert_int_equal(f->n_fetches, ELEMENTSOF(answers));
}

static void an_answer_without_end_is_cut(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300), *much = malloc((300u << 10) + 1), *keys = NULL, *body = NULL;

        memset(much, ' ', 300u << 10);
        much[300u << 10] = 0;
        keys = key_set((const json_t *[]) { f->old }, 1);
        body = strprintf("%s%s", keys, much);
        set_body(f, body);
        start(f, (JwksOptions) {});
        assert_refused(f, identify(f, alice), "cannot be had");
        f->tokens = tokens_free(f->tokens);

        /* As much as is allowed, and next to nothing of it keys. */
        body[(256u << 10) - 1] = 0;
        set_body(f, body);
        start(f, (JwksOptions) {});
        assert_int_equal(identify(f, alice), 1);
}

static void without_a_place_for_keys_nobody_has_access(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);

        free(f->config.jwks_url);
        f->config.jwks_url = NULL;
        start(f, (JwksOptions) {});
        assert_refused(f, identify_now(f, alice, 7), "cannot be had");
}

static void a_place_elsewhere_is_not_asked(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);

        assert_int_equal(free_and_strdup(&f->config.jwks_url, "http://192.0.2.1/"), 0); /* the configuration refuses it before */
        start(f, (JwksOptions) {});
        assert_refused(f, identify(f, alice), "cannot be had");
}

static void a_fetcher_that_is_not_there_is_no_access(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);

        fetcher_stop(f);
        start(f, (JwksOptions) {});
        assert_refused(f, identify_now(f, alice, 7), "cannot be had");
        fetcher_start(f);
        assert_refused(f, identify_now(f, alice, 7), "cannot be had"); /* it was tried a moment ago */
        run_for(f, PAUSE);
        assert_int_equal(identify(f, alice), 1);
}

static void what_a_fetcher_says_is_not_believed(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300), *keys = key_set((const json_t *[]) { f->old }, 1),
                            *bare = strprintf("%s\n", keys), *cut = strprintf("keys\n%.*s", (int) strlen(keys) - 1, keys),
                            *both = strprintf("keys\n%s\n%s\n", keys, keys), *refusal = strprintf("error\nkeys\n%s\n", keys),
                            *much = malloc((300u << 10) + 1), *honest = strprintf("keys\n%s\n", keys);
        const char *lies[] = { "", "keys", "keys\n", "keys\n{}", "keys\n{\"keys\":[]}\n", "error ", "error \n", "error \xff\x1b[2J", "\n",
                               bare, cut, both, refusal, much };

        memset(much, ' ', 300u << 10);
        memcpy(much, honest, strlen(honest));
        much[300u << 10] = 0;
        for (size_t i = 0; i < ELEMENTSOF(lies); i++) {
                f->lie = lies[i];
                start(f, (JwksOptions) {});
                assert_refused(f, identify(f, alice), "cannot be had");
                f->tokens = tokens_free(f->tokens);
        }
        assert_int_equal(f->n_asked, ELEMENTSOF(lies));
        f->lie = honest;
        start(f, (JwksOptions) {});
        assert_int_equal(identify(f, alice), 1);
        assert_int_equal(f->n_fetches, 0);
}

static void a_fetcher_that_hangs_is_left_alone(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300), *keys = key_set((const json_t *[]) { f->old }, 1),
                            *honest = strprintf("keys\n%s\n", keys);

        /* An answer has an end. */
        f->lie = honest;
        f->hang = true;
        start(f, (JwksOptions) { .timeout_usec = USEC_PER_MSEC });
        assert_refused(f, identify(f, alice), "cannot be had");
}

static void a_silent_issuer_is_waited_for_no_longer_than_allowed(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);
        uint64_t begun = now_usec(CLOCK_MONOTONIC);

        f->answer = mfree(f->answer);
        start(f, (JwksOptions) { .timeout_usec = 500 * USEC_PER_MSEC });
        assert_refused(f, identify(f, alice), "cannot be had");
        assert_true(now_usec(CLOCK_MONOTONIC) - begun >= 490 * USEC_PER_MSEC);
        assert_true(now_usec(CLOCK_MONOTONIC) - begun < 5 * USEC_PER_SEC);
}

static void old_keys_are_used_for_a_while_when_no_new_ones_are_to_be_had(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);

        start(f, (JwksOptions) { .lifetime_usec = USEC_PER_SEC, .keep_usec = 4 * USEC_PER_SEC });
        assert_int_equal(identify(f, alice), 1);
        issuer_stop(f);
        run_for(f, 1200 * USEC_PER_MSEC);
        assert_int_equal(identify_now(f, alice, 7), 0); /* asks first */
        assert_int_equal(identify(f, alice), 1);
        run_for(f, PAUSE);
        assert_int_equal(identify_now(f, alice, 7), 1); /* and, once it has failed, beside the requests */
        run_for(f, 3 * USEC_PER_SEC);
        assert_refused(f, identify(f, alice), "cannot be had"); /* also for a token that was known */
        issuer_start(f);
        run_for(f, PAUSE);
        assert_int_equal(identify(f, alice), 1);
}

static void while_tokens_keep_coming_nobody_waits_for_fresh_keys(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300);
        uint64_t end;

        start(f, (JwksOptions) { .lifetime_usec = 4 * USEC_PER_SEC });
        assert_int_equal(identify(f, alice), 1);
        end = now_usec(CLOCK_MONOTONIC) + 5 * USEC_PER_SEC;
        while (now_usec(CLOCK_MONOTONIC) < end) {
                assert_int_equal(identify_now(f, alice, 7), 1);
                run_for(f, 20 * USEC_PER_MSEC);
        }
        assert_int_equal(f->n_fetches, 2);
}

static void on_done(int error, const char *why, Caller *caller, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        f->error = error;
        f->why = why;
        assert_true(!caller || streq(caller->user, "alice"));
}

static void who_waits_for_keys_is_bounded_and_all_are_answered(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *alice = token_of(f->old, "alice", 300), *header = strprintf("Bearer %s", alice);
        uint64_t end = now_usec(CLOCK_MONOTONIC) + LIMIT_USEC;
        AuthQuery *q = NULL, *cancelled = NULL;
        Peer *peer;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(auth_new(f->event, &f->config, &f->auth), 0);
        assert_int_equal(peer_new(f->auth, fds[0], &peer), 0);
        for (unsigned i = 0; i < 256; i++)
                assert_int_equal(auth_identify(f->auth, peer, header, on_done, f, &q, &f->caller, &f->why), 0);
        assert_int_equal(auth_identify(f->auth, peer, header, on_done, f, &cancelled, &f->caller, &f->why), -EBUSY);
        assert_non_null(strstr(f->why, "try again later"));
        auth_query_cancel(q);
        assert_int_equal(auth_identify(f->auth, peer, header, on_done, f, &q, &f->caller, &f->why), 0);
        /* Without a token, and with what is none, nobody waits. */
        assert_int_equal(auth_identify(f->auth, peer, NULL, on_done, f, &q, &f->caller, &f->why), 1);
        assert_string_equal(f->caller->user, "root");
        f->caller = caller_unref(f->caller);
        assert_int_equal(auth_identify(f->auth, peer, "bearer x", on_done, f, &q, &f->caller, &f->why), -EACCES);
        while (f->n_done < 256) {
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
                assert_true(now_usec(CLOCK_MONOTONIC) < end);
        }
        assert_int_equal(f->error, 0);
        /* The token decides, not that root brought it. */
        assert_int_equal(auth_identify(f->auth, peer, header, on_done, f, &q, &f->caller, &f->why), 1);
        assert_string_equal(f->caller->user, "alice");
        assert_false(f->caller->admin);
        peer_free(peer);
        close_many(fds, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, new_fixture, free_fixture)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(the_first_token_fetches_the_keys_and_the_second_does_not),
                TEST(a_token_that_is_known_is_the_same_caller),
#ifdef __SANITIZE_ADDRESS__
                TEST(who_is_known_costs_no_allocation),
#endif
                TEST(one_that_is_known_expires_all_the_same),
                TEST(known_ones_are_bounded),
                TEST(a_new_key_is_fetched_when_a_token_names_it_and_the_old_one_ends),
                TEST(keys_that_nobody_has_are_asked_for_now_and_then_only),
                TEST(what_is_no_token_has_nothing_fetched_twice),
                TEST(without_keys_nobody_has_access),
                TEST(an_answer_without_end_is_cut),
                TEST(without_a_place_for_keys_nobody_has_access),
                TEST(a_place_elsewhere_is_not_asked),
                TEST(a_fetcher_that_is_not_there_is_no_access),
                TEST(what_a_fetcher_says_is_not_believed),
                TEST(a_fetcher_that_hangs_is_left_alone),
                TEST(a_silent_issuer_is_waited_for_no_longer_than_allowed),
                TEST(old_keys_are_used_for_a_while_when_no_new_ones_are_to_be_had),
                TEST(while_tokens_keep_coming_nobody_waits_for_fresh_keys),
                TEST(who_waits_for_keys_is_bounded_and_all_are_answered),
        };
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
