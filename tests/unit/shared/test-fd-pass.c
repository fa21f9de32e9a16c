/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd-pass.h"
#include "basic/macro.h"

static int pair[2];

static unsigned count_open(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static int open_pair(void **state) {
        return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state) {
        return close(pair[0]) | close(pair[1]);
}

static void send_some(size_t n) {
        int fds[FDS_PASS_MAX];

        for (size_t i = 0; i < n; i++)
                fds[i] = pair[0];
        assert_int_equal(send_fds(pair[0], "abc", 3, fds, n, 0), 0);
}

static void what_is_sent_comes_out_closed_on_exec(void **state) {
        int fds[2];
        char buf[8];
        size_t n;

        send_some(2);
        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), fds, 2, &n, 0), 3);
        assert_memory_equal(buf, "abc", 3);
        assert_int_equal(n, 2);
        for (size_t i = 0; i < n; i++) {
                assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
                close(fds[i]);
        }
}

static void a_datagram_may_come_without_fds(void **state) {
        char buf[8];
        size_t n = 7;

        send_some(0);
        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), NULL, 0, &n, 0), 3);
        assert_int_equal(n, 0);
}

static void more_fds_than_fit_are_refused_and_closed(void **state) {
        unsigned before = count_open();
        char buf[8];
        size_t n;
        int fds[3];

        send_some(4);
        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), fds, 3, &n, 0), -EMSGSIZE);
        assert_int_equal(n, 0);
        send_some(FDS_PASS_MAX);
        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), fds, 3, &n, 0), -EMSGSIZE);
        assert_int_equal(count_open(), before);
}

static void more_bytes_than_fit_are_refused_and_their_fds_closed(void **state) {
        unsigned before = count_open();
        char buf[2];
        size_t n;
        int fd;

        send_some(1);
        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), &fd, 1, &n, 0), -EMSGSIZE);
        assert_int_equal(count_open(), before);
}

static void an_end_and_an_empty_queue_are_told_apart(void **state) {
        char buf[2];
        size_t n;
        int fd;

        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), &fd, 1, &n, MSG_DONTWAIT), -EAGAIN);
        shutdown(pair[0], SHUT_WR);
        assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), &fd, 1, &n, MSG_DONTWAIT), 0);
}

static void what_was_only_looked_at_can_be_had_again(void **state) {
        char buf[8];
        size_t n;
        int fd;

        send_some(1);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(receive_fds(pair[1], buf, sizeof(buf), &fd, 1, &n, MSG_PEEK), 3);
                assert_int_equal(n, 1);
                close(fd);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_sent_comes_out_closed_on_exec, open_pair, close_pair),
                cmocka_unit_test_setup_teardown(a_datagram_may_come_without_fds, open_pair, close_pair),
                cmocka_unit_test_setup_teardown(more_fds_than_fit_are_refused_and_closed, open_pair, close_pair),
                cmocka_unit_test_setup_teardown(more_bytes_than_fit_are_refused_and_their_fds_closed, open_pair, close_pair),
                cmocka_unit_test_setup_teardown(an_end_and_an_empty_queue_are_told_apart, open_pair, close_pair),
                cmocka_unit_test_setup_teardown(what_was_only_looked_at_can_be_had_again, open_pair, close_pair),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
