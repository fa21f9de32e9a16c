/* SPDX-License-Identifier: Apache-2.0 */

/* With real sockets in a network namespace of its own, whose other ends are processes of other users. */

#include <arpa/inet.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/admin-group.h"
#include "rpcd/auth.h"
#include "rpcd/peer.h"

#define LIMIT_USEC (20 * USEC_PER_SEC)

/* Users and groups that every Debian has. */
#define UID_DAEMON 1u
#define GID_ADM 4u
#define GROUP_ADM "adm"

typedef struct Fixture {
        sd_event *event;
        RpcConfig config;
        Auth *auth;
        int fd;    /* our end of the connection */
        pid_t pid; /* the other end */
        Peer *peer;
        unsigned n_done;
        int error;
        const char *why;
        Caller *caller;
} Fixture;

typedef struct Other {
        uid_t uid;
        gid_t gid;
        gid_t group; /* supplementary one; 0: none */
} Other;

static int new_fixture(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        f->fd = -EBADF;
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(rpc_config_defaults(&f->config), 0);
        assert_int_equal(free_and_strdup(&f->config.admin_group, GROUP_ADM), 0);
        f->config.system_users = true; /* no other user is on every Debian */
        assert_int_equal(auth_new(f->event, &f->config, &f->auth), 0);
        *state = f;
        return 0;
}

static void other_end(Fixture *f) {
        if (f->pid <= 0)
                return;
        (void) kill(f->pid, SIGKILL);
        (void) waitpid(f->pid, NULL, 0);
        f->pid = 0;
}

static int free_fixture(void **state) {
        Fixture *f = *state;

        other_end(f);
        caller_unref(f->caller);
        peer_free(f->peer);
        auth_free(f->auth);
        safe_close(f->fd);
        rpc_config_done(&f->config);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void become(const Other *o) {
        if (setgroups(o->group ? 1 : 0, &o->group) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
            setresuid(o->uid, o->uid, o->uid) < 0)
                _exit(1);
}

/* The other end, held open by a process of that user until it is killed. */
static void connect_as(Fixture *f, const struct sockaddr *listening, socklen_t size, int listen_fd, const Other *o) {
        f->pid = fork();
        assert_true(f->pid >= 0);
        if (f->pid == 0) {
                int fd;

                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                become(o);
                fd = socket(listening->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (fd < 0 || connect(fd, listening, size) < 0)
                        _exit(1);
                for (;;)
                        (void) pause();
        }
        f->fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        assert_true(f->fd >= 0);
}

static void connect_unix(Fixture *f, const Other *o) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t size = sizeof(a);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &a, sizeof(sa_family_t)), 0); /* an abstract name of the kernel's choice */
        assert_int_equal(listen(fd, 4), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &a, &size), 0);
        connect_as(f, (struct sockaddr *) &a, size, fd, o);
}

/* listening: "0.0.0.0", "::"; to: the address connected to, of its own family. */
static void connect_tcp(Fixture *f, const char *listening, const char *to, const Other *o) {
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 }, bound = {};
        bool is_v6 = strchr(listening, ':');
        _cleanup_close_ int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t size = sizeof(bound);

        assert_true(fd >= 0);
        if (is_v6)
                assert_int_equal(inet_pton(AF_INET6, listening, &v6.sin6_addr), 1);
        else
                assert_int_equal(inet_pton(AF_INET, listening, &v4.sin_addr), 1);
        assert_int_equal(is_v6 ? bind(fd, (struct sockaddr *) &v6, sizeof(v6)) : bind(fd, (struct sockaddr *) &v4, sizeof(v4)), 0);
        assert_int_equal(listen(fd, 4), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &bound, &size), 0);
        if (strchr(to, ':')) {
                assert_int_equal(inet_pton(AF_INET6, to, &v6.sin6_addr), 1);
                v6.sin6_port = bound.sin6_port;
                connect_as(f, (struct sockaddr *) &v6, sizeof(v6), fd, o);
        } else {
                assert_int_equal(inet_pton(AF_INET, to, &v4.sin_addr), 1);
                v4.sin_port = bound.sin6_port; /* at the same place in both */
                connect_as(f, (struct sockaddr *) &v4, sizeof(v4), fd, o);
        }
}

static void on_done(int error, const char *why, Caller *caller, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        f->error = error;
        f->why = why;
        f->caller = caller_ref(caller);
}

static int identify(Fixture *f, const char *authorization) {
        AuthQuery *q = NULL;
        uint64_t end = now_usec(CLOCK_MONOTONIC) + LIMIT_USEC;
        int r;

        f->caller = caller_unref(f->caller);
        f->n_done = 0;
        if (!f->peer)
                assert_int_equal(peer_new(f->auth, f->fd, &f->peer), 0);
        r = auth_identify(f->auth, f->peer, authorization, on_done, f, &q, &f->caller, &f->why);
        if (r != 0)
                return r;
        assert_int_equal(f->n_done, 0);
        while (f->n_done == 0) {
                assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
                assert_true(now_usec(CLOCK_MONOTONIC) < end);
        }
        assert_int_equal(f->n_done, 1);
        return f->error;
}

static void assert_caller(Fixture *f, uid_t uid, const char *user, bool admin) {
        assert_true(identify(f, NULL) >= 0);
        assert_non_null(f->caller);
        assert_int_equal(f->caller->uid, uid);
        assert_null(f->caller->subject);
        assert_int_equal(f->caller->admin, admin);
        if (user) {
                assert_non_null(f->caller->user);
                assert_string_equal(f->caller->user, user);
        } else
                assert_null(f->caller->user);
}

static void root_is_an_administrator_at_once(void **state) {
        Fixture *f = *state;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        f->fd = fds[0];
        assert_int_equal(identify(f, NULL), 1);
        assert_caller(f, 0, "root", true);
        safe_close(fds[1]);
}

static void a_user_of_a_unix_socket_is_whoever_connected(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1 });
        assert_caller(f, UID_DAEMON, "daemon", false);
}

static void what_a_peer_became_after_it_connected_does_not_count(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1 });
        other_end(f);
        assert_caller(f, UID_DAEMON, "daemon", false);
}

static void the_second_request_of_a_peer_gets_the_same_caller_at_once(void **state) {
        _cleanup_(caller_unrefp) Caller *first = NULL;
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1 });
        assert_caller(f, UID_DAEMON, "daemon", false);
        first = caller_ref(f->caller);
        assert_int_equal(identify(f, NULL), 1);
        assert_ptr_equal(f->caller, first);
}

static void members_of_the_group_are_administrators(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1, .group = GID_ADM });
        assert_caller(f, UID_DAEMON, "daemon", true);
}

static void the_primary_group_counts(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = GID_ADM });
        assert_caller(f, UID_DAEMON, "daemon", true);
}

static void without_the_group_there_are_no_other_administrators(void **state) {
        Fixture *f = *state;

        assert_int_equal(free_and_strdup(&f->config.admin_group, "no-such-group"), 0);
        auth_free(f->auth);
        assert_int_equal(auth_new(f->event, &f->config, &f->auth), 0);
        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1, .group = GID_ADM });
        assert_caller(f, UID_DAEMON, "daemon", false);
}

static void an_account_of_a_service_owns_nothing_unless_it_may(void **state) {
        Fixture *f = *state;

        f->config.system_users = false;
        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1 });
        assert_caller(f, UID_DAEMON, NULL, false);
}

static void an_account_of_a_service_may_be_an_administrator(void **state) {
        Fixture *f = *state;

        f->config.system_users = false;
        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1, .group = GID_ADM });
        assert_caller(f, UID_DAEMON, "daemon", true);
}

static void a_uid_without_a_name_owns_nothing(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = 1234567, .gid = 1234567 });
        assert_caller(f, 1234567, NULL, false);
}

static void the_overflow_uid_is_nobody(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = 65534, .gid = 65534, .group = GID_ADM });
        assert_caller(f, 65534, NULL, false);
}

static void over_tcp_the_kernel_tells_whose_the_other_end_is(void **state) {
        static const char *const ways[][2] = {
                { "127.0.0.1", "127.0.0.1" }, { "0.0.0.0", "127.9.8.7" }, { "::1", "::1" },
                { "::", "::1" }, { "::", "127.0.0.1" }, { "::", "::ffff:127.0.0.1" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                connect_tcp(f, ways[i][0], ways[i][1], &(Other) { .uid = UID_DAEMON, .gid = 1, .group = GID_ADM });
                /* What groups a process has is not known over TCP; daemon is no member of adm. */
                assert_caller(f, UID_DAEMON, "daemon", false);
                f->peer = peer_free(f->peer);
                other_end(f);
                f->fd = safe_close(f->fd);
        }
}

static void over_tcp_root_is_root(void **state) {
        Fixture *f = *state;

        connect_tcp(f, "127.0.0.1", "127.0.0.1", &(Other) {});
        assert_caller(f, 0, "root", true);
}

static void who_has_closed_a_tcp_connection_is_nobody(void **state) {
        Fixture *f = *state;

        connect_tcp(f, "127.0.0.1", "127.0.0.1", &(Other) {});
        other_end(f);
        assert_caller(f, UID_INVALID, NULL, false);
}

static void who_comes_from_beyond_the_loopback_is_nobody(void **state) {
        Fixture *f = *state;

        connect_tcp(f, "0.0.0.0", "192.0.2.1", &(Other) {});
        assert_caller(f, UID_INVALID, NULL, false);
}

static void without_tokens_the_header_is_ignored(void **state) {
        Fixture *f = *state;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1 });
        assert_int_equal(identify(f, "Bearer nonsense"), 0);
        assert_string_equal(f->caller->user, "daemon");
}

static void a_token_that_is_required_and_missing_is_refused(void **state) {
        Fixture *f = *state;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        f->fd = fds[0];
        f->config.oauth_require = true;
        auth_free(f->auth);
        assert_int_equal(auth_new(f->event, &f->config, &f->auth), 0);
        assert_int_equal(identify(f, NULL), -EACCES);
        assert_null(f->caller);
        assert_string_equal(f->why, "A bearer token is needed (Authorization: Bearer …).");
        assert_int_equal(identify(f, "Basic cm9vdDo="), -EACCES);
        assert_int_equal(identify(f, "Bearer"), -EACCES);
        assert_int_equal(identify(f, ""), -EACCES);
        assert_int_equal(identify(f, "Bearer x"), -EACCES);
        assert_null(f->caller);
        safe_close(fds[1]);
}

static void with_the_peer_its_queries_go(void **state) {
        Fixture *f = *state;
        AuthQuery *q;

        connect_unix(f, &(Other) { .uid = UID_DAEMON, .gid = 1 });
        assert_int_equal(peer_new(f->auth, f->fd, &f->peer), 0);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(auth_identify(f->auth, f->peer, NULL, on_done, f, &q, &f->caller, &f->why), 0);
        auth_query_cancel(q);
        f->peer = peer_free(f->peer);
        for (unsigned i = 0; i < 10; i++)
                assert_true(sd_event_run(f->event, 20 * USEC_PER_MSEC) >= 0);
        assert_int_equal(f->n_done, 0);
}

static void the_user_database_names_members_of_a_group(void **state) {
        char *members = NULL;
        gid_t gid;

        assert_int_equal(admin_group_parse("admins:x:997:alice,bob\n", &gid, &members), 0);
        assert_int_equal(gid, 997);
        assert_string_equal(members, "alice,bob");
        free(members);
        assert_int_equal(admin_group_parse("admins:x:997:\n", &gid, &members), 0);
        assert_string_equal(members, "");
        free(members);
        assert_int_equal(admin_group_parse("admins:x:997\n", &gid, &members), -EBADMSG);
        assert_int_equal(admin_group_parse("admins:x::alice\n", &gid, &members), -EBADMSG);
        assert_int_equal(admin_group_parse("admins:x:-1:alice\n", &gid, &members), -EBADMSG);
        assert_int_equal(admin_group_parse("", &gid, &members), -EBADMSG);
}

static void a_line_of_the_user_database_has_name_and_group(void **state) {
        char *name;
        gid_t gid;

        assert_int_equal(login_name_parse("alice:x:1000:1001:Alice:/home/alice:/bin/sh\n", &name, &gid), 0);
        assert_string_equal(name, "alice");
        assert_int_equal(gid, 1001);
        free(name);
        assert_int_equal(login_name_parse("alice:x:1000", &name, &gid), 0);
        assert_string_equal(name, "alice");
        assert_int_equal(gid, GID_INVALID);
        free(name);
        assert_int_equal(login_name_parse(":x:0:0", &name, &gid), 0);
        assert_null(name);
        assert_int_equal(login_name_parse("alice\nx:0:0:", &name, &gid), 0);
        assert_null(name);
}

/* An address that is this host's, but not of the loopback. */
static int enter_network(void) {
        struct ifreq lo = { .ifr_name = "lo" }, alias = { .ifr_name = "lo:1" };
        struct sockaddr_in *a = (struct sockaddr_in *) &alias.ifr_addr;
        _cleanup_close_ int fd = -EBADF;

        if (unshare(CLONE_NEWNET) < 0)
                return negative_errno();
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return negative_errno();
        lo.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
        a->sin_family = AF_INET;
        (void) inet_pton(AF_INET, "192.0.2.1", &a->sin_addr);
        return ioctl(fd, SIOCSIFFLAGS, &lo) < 0 || ioctl(fd, SIOCSIFADDR, &alias) < 0 ? negative_errno() : 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, new_fixture, free_fixture)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(root_is_an_administrator_at_once),
                TEST(a_user_of_a_unix_socket_is_whoever_connected),
                TEST(what_a_peer_became_after_it_connected_does_not_count),
                TEST(the_second_request_of_a_peer_gets_the_same_caller_at_once),
                TEST(members_of_the_group_are_administrators),
                TEST(the_primary_group_counts),
                TEST(without_the_group_there_are_no_other_administrators),
                TEST(a_uid_without_a_name_owns_nothing),
                TEST(an_account_of_a_service_owns_nothing_unless_it_may),
                TEST(an_account_of_a_service_may_be_an_administrator),
                TEST(the_overflow_uid_is_nobody),
                TEST(over_tcp_the_kernel_tells_whose_the_other_end_is),
                TEST(over_tcp_root_is_root),
                TEST(who_has_closed_a_tcp_connection_is_nobody),
                TEST(who_comes_from_beyond_the_loopback_is_nobody),
                TEST(without_tokens_the_header_is_ignored),
                TEST(a_token_that_is_required_and_missing_is_refused),
                TEST(with_the_peer_its_queries_go),
                cmocka_unit_test(the_user_database_names_members_of_a_group),
                cmocka_unit_test(a_line_of_the_user_database_has_name_and_group),
        };
        sigset_t signals;

        if (enter_network() < 0)
                return 77;
        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
