/* SPDX-License-Identifier: Apache-2.0 */

/* The QMP client against a QEMU played by the test: what a real one hardly ever does, or never should. */

#include "hypervisor/qemu/qmp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}}, \"capabilities\": []}}\r\n"
#define NOT_YET 12345
#define MIGRATION(status) "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"" status "\"}}\r\n"

typedef struct Fake {
        sd_event *event;
        VmmMonitor *monitor;
        int fd; /* QEMU's end */
        unsigned events[VMM_EVENT_LOST + 1];
        int result;
        char *text;
        bool free_when_done;
} Fake;

static void on_event(VmmMonitor *m, VmmEvent event, void *userdata) {
        ((Fake *) userdata)->events[event]++;
}

static void on_done(VmmMonitor *m, int error, const char *text, void *userdata) {
        Fake *f = userdata;

        f->result = error;
        free(f->text);
        f->text = text ? strdup(text) : NULL;
        if (f->free_when_done)
                f->monitor = qmp_free(f->monitor);
}

static void run(Fake *f) {
        while (sd_event_run(f->event, 0) > 0)
                ;
}

static void connect_fake(Fake *f, bool adopted) {
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        f->fd = pair[1];
        assert_int_equal(qmp_new(f->event, pair[0], adopted, on_event, f, &f->monitor), 0);
}

static void say(Fake *f, const char *text) {
        assert_return_code(write_all(f->fd, text, strlen(text)), 0);
        run(f);
}

/* The id of the last command that came, which must be the one named. */
static unsigned long long hear(Fake *f, const char *command) {
        char buf[4096], *id;
        ssize_t n;

        n = recv(f->fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
        assert_true(n > 0);
        buf[n] = 0;
        if (!strstr(buf, command))
                fail_msg("%s was not said, but %s", command, buf);
        id = strstr(buf, "\"id\":");
        assert_non_null(id);
        return strtoull(id + 5, NULL, 10);
}

static void say_answer(Fake *f, const char *what, unsigned long long id) {
        _cleanup_free_ char *line = strprintf("{%s, \"id\": %llu}\r\n", what, id);

        say(f, line);
}

static void negotiate(Fake *f) {
        connect_fake(f, false);
        say(f, GREETING);
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
}

static int setup(void **state) {
        Fake *f = calloc(1, sizeof(Fake));

        f->fd = -EBADF;
        f->result = NOT_YET;
        assert_return_code(sd_event_new(&f->event), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fake *f = *state;

        qmp_free(f->monitor);
        safe_close(f->fd);
        sd_event_unref(f->event);
        free(f->text);
        free(f);
        return 0;
}

static void ready_comes_after_the_negotiation_and_once(void **state) {
        Fake *f = *state;

        connect_fake(f, false);
        run(f);
        assert_int_equal(f->events[VMM_EVENT_READY], 0);
        say(f, GREETING);
        assert_int_equal(f->events[VMM_EVENT_READY], 0);
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        say(f, GREETING);
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
}

static void a_message_may_come_in_pieces_and_several_at_once(void **state) {
        Fake *f = *state;

        connect_fake(f, false);
        for (const char *c = GREETING; *c; c++)
                assert_int_equal(write(f->fd, c, 1), 1), run(f);
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        say(f, "{\"event\": \"STOP\"}\r\n{\"event\": \"RESUME\"}\r\n\r\n{\"event\": \"STOP\"}\n");
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        assert_int_equal(f->events[VMM_EVENT_PAUSED], 2);
        assert_int_equal(f->events[VMM_EVENT_RESUMED], 1);
}

static void the_reason_of_an_error_is_told(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        say_answer(f, "\"error\": {\"class\": \"GenericError\", \"desc\": \"It is too late.\"}", hear(f, "stop"));
        assert_int_equal(f->result, -EREMOTEIO);
        assert_string_equal(f->text, "It is too late.");
}

static void the_status_is_asked_for(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_int_equal(qmp_query_paused(f->monitor, on_done, f), 0);
        say_answer(f, "\"return\": {\"status\": \"paused\", \"singlestep\": false, \"running\": false}",
                   hear(f, "query-status"));
        assert_int_equal(f->result, 1);
        assert_int_equal(qmp_query_paused(f->monitor, on_done, f), 0);
        say_answer(f, "\"return\": {\"status\": \"running\", \"singlestep\": false, \"running\": true}",
                   hear(f, "query-status"));
        assert_int_equal(f->result, 0);
}

static void answers_to_somebody_else_are_not_ours(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        say(f, "{\"return\": {}, \"id\": 1}\r\n{\"return\": {}, \"id\": \"x\"}\r\n{\"return\": {}}\r\n");
        assert_int_equal(f->result, NOT_YET);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void shutdowns_are_told_apart(void **state) {
        Fake *f = *state;

        negotiate(f);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": \"host-qmp-quit\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_HOST_SHUTDOWN], 1);
        assert_int_equal(f->events[VMM_EVENT_GUEST_SHUTDOWN], 0);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_GUEST_SHUTDOWN], 1);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_GUEST_RESET], 1);
        say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-panic\"}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_GUEST_PANIC], 1);
        say(f, "{\"event\": \"SOMETHING_NEW\", \"data\": {}}\r\n");
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void lost_by(Fake *f, const char *line) {
        negotiate(f);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        say(f, line);
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
        assert_int_equal(f->result, -ECONNRESET);
        assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), -ENOTCONN);
}

static void what_is_no_json_ends_the_connection(void **state) {
        lost_by(*state, "{\"event\": \"STOP\"\r\n");
}

static void what_is_no_object_ends_the_connection(void **state) {
        lost_by(*state, "[1, 2, 3]\r\n");
}

static void a_shutdown_without_data_ends_the_connection(void **state) {
        lost_by(*state, "{\"event\": \"SHUTDOWN\"}\r\n");
}

static void depth_does_not_exhaust_the_stack(void **state) {
        _cleanup_free_ char *line = new(char, 100002);

        memset(line, '[', 100000);
        line[100000] = '\n';
        line[100001] = 0;
        lost_by(*state, line);
}

static void a_line_without_end_is_cut_off(void **state) {
        _cleanup_free_ char *block = new(char, 65536);
        Fake *f = *state;

        negotiate(f);
        memset(block, 'x', 65536);
        for (unsigned i = 0; i < 64 && f->events[VMM_EVENT_LOST] == 0; i++) {
                (void) send(f->fd, block, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
                run(f);
        }
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
}

static void a_qemu_that_does_not_read_is_told_no_more_after_a_while(void **state) {
        Fake *f = *state;
        int r = 0;

        negotiate(f);
        for (unsigned i = 0; i < 1000 && r == 0; i++)
                r = qmp_command(f->monitor, "stop", on_done, f);
        assert_int_equal(r, -EAGAIN);
}

static void the_monitor_may_be_freed_while_calls_fail(void **state) {
        Fake *f = *state;

        negotiate(f);
        f->free_when_done = true;
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(qmp_command(f->monitor, "stop", on_done, f), 0);
        f->fd = safe_close(f->fd);
        run(f);
        assert_int_equal(f->result, -ECONNRESET);
        assert_null(f->monitor);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void adopted_skips_the_rest_of_an_old_message(void **state) {
        Fake *f = *state;

        connect_fake(f, true);
        say(f, "running\": true}, \"id\": 77}\r\n{\"return\": {}, \"id\": 78}\r\n");
        assert_int_equal(f->events[VMM_EVENT_READY], 0);
        say_answer(f, "\"return\": {\"status\": \"running\", \"running\": true}", hear(f, "query-status"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
        /* From then on nonsense is nonsense. */
        say(f, "nonsense\r\n");
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
}

static void adopted_before_the_negotiation_makes_up_for_it(void **state) {
        Fake *f = *state;

        connect_fake(f, true);
        say_answer(f, "\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting capabilities negotiation\"}",
                   hear(f, "query-status"));
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
}

/* The fd that came with the last command, which must be getfd. */
static int hear_fd(Fake *f, unsigned long long *ret_id) {
        char buf[4096];
        size_t n_fds;
        ssize_t n;
        int fd;

        n = receive_fds(f->fd, buf, sizeof(buf) - 1, &fd, 1, &n_fds, MSG_DONTWAIT);
        assert_true(n > 0);
        assert_int_equal(n_fds, 1);
        buf[n] = 0;
        assert_non_null(strstr(buf, "\"getfd\""));
        *ret_id = strtoull(strstr(buf, "\"id\":") + 5, NULL, 10);
        return fd;
}

/* Plays the steps until the migration runs; the id of its command. */
static unsigned long long begin_migration(Fake *f, bool incoming) {
        unsigned long long id;
        int pair[2];

        assert_return_code(pipe(pair), errno);
        assert_int_equal((incoming ? qmp_load : qmp_save)(f->monitor, pair[1], on_done, f), 0);
        close(pair[1]);
        close(hear_fd(f, &id));
        close(pair[0]);
        say_answer(f, "\"return\": {}", id);
        say_answer(f, "\"return\": true", hear(f, "\"share\""));
        say_answer(f, "\"return\": {}", hear(f, "x-ignore-shared"));
        return hear(f, incoming ? "migrate-incoming\",\"arguments\":{\"uri\":\"fd:state\"}"
                                : "migrate\",\"arguments\":{\"uri\":\"fd:state\"}");
}

static void wait_for_result(Fake *f) {
        for (unsigned i = 0; i < 100 && f->result == NOT_YET; i++)
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
}

static void saving_ends_with_the_event_and_not_with_the_answer(void **state) {
        unsigned long long id;
        Fake *f = *state;

        negotiate(f);
        id = begin_migration(f, false);
        say(f, MIGRATION("setup"));
        say_answer(f, "\"return\": {}", id);
        say(f, MIGRATION("active"));
        assert_int_equal(f->result, NOT_YET);
        assert_int_equal(qmp_save(f->monitor, f->fd, on_done, f), -EBUSY);
        say(f, MIGRATION("completed"));
        assert_int_equal(f->result, 0);
        f->result = NOT_YET;
        say(f, MIGRATION("completed"));
        assert_int_equal(f->result, NOT_YET);
        /* And again, as after a failure. */
        say_answer(f, "\"return\": {}", begin_migration(f, false));
        say(f, MIGRATION("completed"));
        assert_int_equal(f->result, 0);
}

static void the_event_may_come_before_the_answer(void **state) {
        unsigned long long id;
        Fake *f = *state;

        negotiate(f);
        id = begin_migration(f, true);
        say(f, MIGRATION("completed"));
        assert_int_equal(f->result, 0);
        say_answer(f, "\"return\": {}", id);
        assert_int_equal(f->events[VMM_EVENT_LOST], 0);
}

static void why_saving_failed_is_asked_for(void **state) {
        Fake *f = *state;

        negotiate(f);
        say_answer(f, "\"return\": {}", begin_migration(f, false));
        say(f, MIGRATION("failed"));
        assert_int_equal(f->result, NOT_YET);
        say_answer(f, "\"return\": {\"status\": \"failed\", \"error-desc\": \"The disk is full.\"}",
                   hear(f, "query-migrate"));
        /* Not before QEMU is done with it. */
        assert_int_equal(f->result, NOT_YET);
        assert_int_equal(qmp_save(f->monitor, f->fd, on_done, f), -EBUSY);
        wait_for_result(f);
        assert_int_equal(f->result, -EREMOTEIO);
        assert_string_equal(f->text, "The disk is full.");
        say_answer(f, "\"return\": {}", begin_migration(f, false));
        say(f, MIGRATION("completed"));
        assert_int_equal(f->result, 0);
}

static void a_qemu_that_ends_after_a_failure_is_lost_once(void **state) {
        Fake *f = *state;

        negotiate(f);
        say_answer(f, "\"return\": {}", begin_migration(f, false));
        say(f, MIGRATION("failed"));
        say_answer(f, "\"return\": {\"status\": \"failed\"}", hear(f, "query-migrate"));
        f->fd = safe_close(f->fd);
        run(f);
        assert_int_equal(f->result, -ECONNRESET);
        f->result = NOT_YET;
        assert_int_equal(sd_event_run(f->event, 300 * USEC_PER_MSEC), 1);
        assert_int_equal(f->result, NOT_YET);
}

static void who_asks_why_may_free_the_monitor(void **state) {
        Fake *f = *state;

        negotiate(f);
        f->free_when_done = true;
        say_answer(f, "\"return\": {}", begin_migration(f, false));
        say(f, MIGRATION("failed"));
        say_answer(f, "\"return\": {\"status\": \"failed\"}", hear(f, "query-migrate"));
        wait_for_result(f);
        assert_string_equal(f->text, "QEMU cannot write the state.");
        assert_null(f->monitor);
}

static void a_qemu_that_cannot_load_ends_and_is_not_asked_why(void **state) {
        Fake *f = *state;

        negotiate(f);
        say_answer(f, "\"return\": {}", begin_migration(f, true));
        say(f, MIGRATION("failed"));
        assert_int_equal(f->result, -EREMOTEIO);
        assert_string_equal(f->text, "QEMU cannot read the saved state.");
}

static void a_qemu_that_ends_while_it_loads_answers_nevertheless(void **state) {
        Fake *f = *state;

        negotiate(f);
        (void) begin_migration(f, true);
        f->fd = safe_close(f->fd);
        run(f);
        assert_int_equal(f->result, -ECONNRESET);
        assert_int_equal(f->events[VMM_EVENT_LOST], 1);
        assert_int_equal(qmp_load(f->monitor, 0, on_done, f), -ENOTCONN);
}

static void begin_save(Fake *f) {
        unsigned long long id;

        negotiate(f);
        assert_int_equal(qmp_save(f->monitor, f->fd, on_done, f), 0);
        close(hear_fd(f, &id));
        say_answer(f, "\"return\": {}", id);
}

static void memory_of_qemu_s_own_is_not_saved(void **state) {
        Fake *f = *state;

        begin_save(f);
        say_answer(f, "\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device not found\"}",
                   hear(f, "qom-get"));
        assert_int_equal(f->result, -EREMOTEIO);
        assert_string_equal(f->text, "The memory of this VM is not in a file, which saving needs.");
}

static void a_refused_step_is_the_last(void **state) {
        char byte;
        Fake *f = *state;

        begin_save(f);
        say_answer(f, "\"return\": true", hear(f, "qom-get"));
        say_answer(f, "\"error\": {\"class\": \"GenericError\", \"desc\": \"No such capability\"}",
                   hear(f, "migrate-set-capabilities"));
        assert_int_equal(f->result, -EREMOTEIO);
        assert_string_equal(f->text, "No such capability");
        assert_int_equal(recv(f->fd, &byte, 1, MSG_DONTWAIT), -1);
}

/* The fd must come with its own command, however long the queue before it is. */
static void an_fd_keeps_its_place_in_a_queue(void **state) {
        static const char expected[] = "{\"execute\":\"getfd\"";
        char buf[4096];
        struct stat st, original;
        unsigned before = 0;
        Fake *f = *state;
        size_t n_fds;
        ssize_t n;
        int fd, size = 1; /* the kernel makes it the least there can be */

        negotiate(f);
        assert_return_code(setsockopt(((VmmConnection *) f->monitor)->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), errno);
        while (((VmmConnection *) f->monitor)->n_out == 0 && before++ < 60)
                assert_int_equal(qmp_command(f->monitor, "stop", NULL, NULL), 0);
        assert_true(((VmmConnection *) f->monitor)->n_out > 0);
        assert_return_code(fstat(STDIN_FILENO, &original), errno);
        assert_int_equal(qmp_save(f->monitor, STDIN_FILENO, on_done, f), 0);
        assert_int_equal(qmp_command(f->monitor, "cont", NULL, NULL), 0);
        do {
                run(f);
                n = receive_fds(f->fd, buf, sizeof(buf), &fd, 1, &n_fds, MSG_DONTWAIT);
                assert_true(n > 0);
                assert_int_equal(n_fds == 1, memmem(buf, (size_t) n, expected, strlen(expected)) != NULL);
        } while (n_fds == 0);
        assert_return_code(fstat(fd, &st), errno);
        assert_true(st.st_ino == original.st_ino && st.st_dev == original.st_dev);
        close(fd);
}

static void the_version_is_that_of_the_greeting(void **state) {
        static const char debian[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 19, \"minor\": 2, \"major\": 7}, "
                                     "\"package\": \"Debian 1:7.2+dfsg-7+deb12u16\"}, \"capabilities\": [\"oob\"]}}\r\n";
        Fake *f = *state;

        connect_fake(f, false);
        assert_null(qmp_version(f->monitor));
        say(f, debian);
        assert_string_equal(qmp_version(f->monitor), "QEMU 7.2.19 (Debian 1:7.2+dfsg-7+deb12u16)");
        say(f, GREETING);
        assert_string_equal(qmp_version(f->monitor), "QEMU 7.2.19 (Debian 1:7.2+dfsg-7+deb12u16)");
}

static void a_version_of_no_distribution(void **state) {
        Fake *f = *state;

        negotiate(f);
        assert_string_equal(qmp_version(f->monitor), "QEMU 7.2.22");
}

static void a_version_that_nobody_should_print_is_none(void **state) {
        Fake *f = *state;

        connect_fake(f, false);
        say(f, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"minor\": 2, \"major\": 7}, "
               "\"package\": \"\\u001b[2J\"}}}\r\n");
        say_answer(f, "\"return\": {}", hear(f, "qmp_capabilities"));
        assert_int_equal(f->events[VMM_EVENT_READY], 1);
        assert_null(qmp_version(f->monitor));
}

#define qmp_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                qmp_test(ready_comes_after_the_negotiation_and_once),
                qmp_test(a_message_may_come_in_pieces_and_several_at_once),
                qmp_test(the_reason_of_an_error_is_told),
                qmp_test(the_status_is_asked_for),
                qmp_test(answers_to_somebody_else_are_not_ours),
                qmp_test(shutdowns_are_told_apart),
                qmp_test(what_is_no_json_ends_the_connection),
                qmp_test(what_is_no_object_ends_the_connection),
                qmp_test(a_shutdown_without_data_ends_the_connection),
                qmp_test(depth_does_not_exhaust_the_stack),
                qmp_test(a_line_without_end_is_cut_off),
                qmp_test(a_qemu_that_does_not_read_is_told_no_more_after_a_while),
                qmp_test(the_monitor_may_be_freed_while_calls_fail),
                qmp_test(adopted_skips_the_rest_of_an_old_message),
                qmp_test(adopted_before_the_negotiation_makes_up_for_it),
                qmp_test(saving_ends_with_the_event_and_not_with_the_answer),
                qmp_test(the_event_may_come_before_the_answer),
                qmp_test(why_saving_failed_is_asked_for),
                qmp_test(a_qemu_that_ends_after_a_failure_is_lost_once),
                qmp_test(who_asks_why_may_free_the_monitor),
                qmp_test(a_qemu_that_cannot_load_ends_and_is_not_asked_why),
                qmp_test(a_qemu_that_ends_while_it_loads_answers_nevertheless),
                qmp_test(memory_of_qemu_s_own_is_not_saved),
                qmp_test(a_refused_step_is_the_last),
                qmp_test(an_fd_keeps_its_place_in_a_queue),
                qmp_test(the_version_is_that_of_the_greeting),
                qmp_test(a_version_of_no_distribution),
                qmp_test(a_version_that_nobody_should_print_is_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
