/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"
#include "shared/child.h"

typedef struct Result {
        sd_event *event;
        unsigned n;
        int status;
        char *output;
} Result;

static void on_done(int status, const char *output, void *userdata) {
        Result *r = userdata;

        r->n++;
        r->status = status;
        r->output = strdup(output);
        sd_event_exit(r->event, 0);
}

static sd_event *event_new(void) {
        sd_event *e;

        assert_true(sd_event_new(&e) >= 0);
        return e;
}

/* Runs "sh -c script" to its end. */
static Result run(const char *script, int extra_fd, uint64_t timeout) {
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", (char *) script, NULL };
        _cleanup_event_ sd_event *e = event_new();
        Result r = { .event = e };

        assert_int_equal(child_run(e, argv, extra_fd, timeout, on_done, &r, NULL), 0);
        assert_int_equal(sd_event_loop(e), 0);
        assert_int_equal(r.n, 1);
        return r;
}

static void check(const char *script, int status, const char *output) {
        Result r = run(script, -EBADF, 10 * USEC_PER_SEC);

        assert_int_equal(r.status, status);
        assert_string_equal(r.output, output);
        free(r.output);
}

static void status_and_output_are_told(void **state) {
        check("echo hello; exit 0", 0, "hello\n");
        check("echo out; echo err >&2; exit 3", 3, "out\nerr\n");
        check("kill -KILL $$", 128 + SIGKILL, "");
        check("exit 0", 0, "");
}

static void it_inherits_next_to_nothing(void **state) {
        assert_int_equal(setenv("SECRET", "x", true), 0);
        check("echo $SECRET$HOME; cat; ls /proc/self/fd | wc -l", 0, "\n4\n"); /* 0 1 2 and that of ls */
        check("grep SigBlk /proc/self/status", 0, "SigBlk:\t0000000000000000\n");
}

static void the_extra_fd_is_number_3(void **state) {
        int fds[2];
        Result r;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(write(fds[1], "through", 7), 7);
        close(fds[1]);
        r = run("cat <&3", fds[0], 10 * USEC_PER_SEC);
        assert_int_equal(r.status, 0);
        assert_string_equal(r.output, "through");
        free(r.output);
        close(fds[0]);
}

/* Whatever their own numbers are: those they are to get, in the wrong order. */
static void several_fds_are_numbers_3_to_5(void **state) {
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", (char *) "cat <&3; cat <&4; cat <&5; ls /proc/self/fd | wc -l", NULL };
        static const char *const words[] = { "one ", "two ", "three " };
        _cleanup_event_ sd_event *e = event_new();
        Result r = { .event = e };
        int fds[ELEMENTSOF(words)];

        for (size_t i = ELEMENTSOF(words); i-- > 0;) {
                int pair[2];

                assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
                assert_int_equal(write(pair[1], words[i], strlen(words[i])), strlen(words[i]));
                close(pair[1]);
                fds[i] = pair[0];
        }
        assert_int_equal(child_run_fds(e, argv, fds, ELEMENTSOF(fds), 10 * USEC_PER_SEC, on_done, &r, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                close(fds[i]);
        assert_int_equal(sd_event_loop(e), 0);
        assert_int_equal(r.status, 0);
        assert_string_equal(r.output, "one two three 7\n"); /* 0 to 5 and that of ls */
        free(r.output);
}

static void a_bad_fd_and_too_many_are_errors_at_once(void **state) {
        char *argv[] = { (char *) "/bin/true", NULL };
        _cleanup_event_ sd_event *e = event_new();
        int fds[100] = { 0, -1 };

        assert_int_equal(child_run_fds(e, argv, fds, 2, USEC_INFINITY, on_done, NULL, NULL), -EBADF);
        assert_int_equal(child_run_fds(e, argv, fds, 100, USEC_INFINITY, on_done, NULL, NULL), -E2BIG);
}

static void a_signal_ends_it_and_is_told(void **state) {
        char *argv[] = { (char *) "/bin/sleep", (char *) "60", NULL };
        _cleanup_event_ sd_event *e = event_new();
        Result r = { .event = e };
        Child *c;

        assert_int_equal(child_run(e, argv, -EBADF, USEC_INFINITY, on_done, &r, &c), 0);
        assert_int_equal(child_signal(c, SIGTERM), 0);
        assert_int_equal(sd_event_loop(e), 0);
        assert_int_equal(r.status, 128 + SIGTERM);
        free(r.output);
}

static void a_child_that_takes_too_long_is_killed(void **state) {
        uint64_t began = now_usec(CLOCK_MONOTONIC);
        Result r = run("echo before; exec sleep 60", -EBADF, 300 * USEC_PER_MSEC);

        assert_int_equal(r.status, -ETIME);
        assert_true(now_usec(CLOCK_MONOTONIC) - began < 20 * USEC_PER_SEC);
        free(r.output);
}

static void output_is_bounded(void **state) {
        Result r = run("head -c 1000000 /dev/zero | tr '\\0' x", -EBADF, 10 * USEC_PER_SEC);

        assert_int_equal(r.status, 0);
        assert_int_equal(strlen(r.output), 65536);
        free(r.output);
}

static void a_program_that_is_not_there_is_an_error_at_once(void **state) {
        char *argv[] = { (char *) "/nonexistent/program", NULL };
        _cleanup_event_ sd_event *e = event_new();
        Result r = { .event = e };

        assert_int_equal(child_run(e, argv, -EBADF, USEC_PER_SEC, on_done, &r, NULL), -ENOENT);
        assert_int_equal(r.n, 0);
}

static void freeing_kills_and_calls_nobody(void **state) {
        char *argv[] = { (char *) "/bin/sleep", (char *) "60", NULL };
        _cleanup_event_ sd_event *e = event_new();
        Result r = { .event = e };
        Child *c;

        assert_int_equal(child_run(e, argv, -EBADF, USEC_INFINITY, on_done, &r, &c), 0);
        assert_null(child_free(c));
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, not even as a zombie */
        assert_true(sd_event_run(e, 0) >= 0);
        assert_int_equal(r.n, 0);
}

static void output_is_cut_at_64_kib_unless_more_is_wanted(void **state) {
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", (char *) "head -c 200000 /dev/zero | tr '\\0' x", NULL };
        const size_t wanted[] = { 0, 100000, 1 << 20 }, got[] = { 65536, 100000, 200000 };

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                _cleanup_event_ sd_event *e = event_new();
                Result r = { .event = e };
                Child *c;

                assert_int_equal(child_run(e, argv, -EBADF, 10 * USEC_PER_SEC, on_done, &r, &c), 0);
                if (wanted[i] > 0)
                        child_set_output_max(c, wanted[i]);
                assert_int_equal(sd_event_loop(e), 0);
                assert_int_equal(strlen(r.output), got[i]);
                free(r.output);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(status_and_output_are_told),
                cmocka_unit_test(it_inherits_next_to_nothing),
                cmocka_unit_test(the_extra_fd_is_number_3),
                cmocka_unit_test(several_fds_are_numbers_3_to_5),
                cmocka_unit_test(a_bad_fd_and_too_many_are_errors_at_once),
                cmocka_unit_test(a_signal_ends_it_and_is_told),
                cmocka_unit_test(a_child_that_takes_too_long_is_killed),
                cmocka_unit_test(output_is_bounded),
                cmocka_unit_test(a_program_that_is_not_there_is_an_error_at_once),
                cmocka_unit_test(freeing_kills_and_calls_nobody),
                cmocka_unit_test(output_is_cut_at_64_kib_unless_more_is_wanted),
        };
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
