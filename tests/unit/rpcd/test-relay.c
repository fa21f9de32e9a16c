/* SPDX-License-Identifier: Apache-2.0 */

/* Bytes between sockets: both ways, with half-closes, slow readers, and those who leave. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "rpcd/drain.h"
#include "rpcd/relay.h"
#include "shared/bus-util.h"

typedef struct Fixture {
        sd_event *event;
        Relay *relay;
        int a, b; /* our ends */
        bool done;
} Fixture;

static void on_done(Relay *r, void *userdata) {
        Fixture *f = userdata;

        f->done = true;
        f->relay = relay_free(r);
}

static int setup(void **state) {
        int a[2], b[2];
        Fixture *f = new0(Fixture, 1);

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, a), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, b), 0);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(relay_new(f->event, a[1], b[1], on_done, f, &f->relay), 0);
        f->a = a[0];
        f->b = b[0];
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        relay_free(f->relay);
        safe_close(f->a);
        safe_close(f->b);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void run(sd_event *event) {
        while (sd_event_run(event, 20000) > 0)
                ;
}

static void reads(int fd, const char *expected) {
        char buf[64];
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        assert_int_equal(n, strlen(expected));
        assert_memory_equal(buf, expected, strlen(expected));
}

static void bytes_go_both_ways(void **state) {
        Fixture *f = *state;

        assert_int_equal(send(f->a, "to b", 4, 0), 4);
        assert_int_equal(send(f->b, "to a", 4, 0), 4);
        run(f->event);
        reads(f->a, "to a");
        reads(f->b, "to b");
        assert_false(f->done);
}

static void the_end_of_one_way_leaves_the_other_open(void **state) {
        Fixture *f = *state;
        char c;

        assert_int_equal(send(f->a, "last", 4, 0), 4);
        shutdown(f->a, SHUT_WR);
        run(f->event);
        reads(f->b, "last");
        assert_int_equal(recv(f->b, &c, 1, 0), 0);
        assert_int_equal(send(f->b, "answer", 6, 0), 6);
        run(f->event);
        reads(f->a, "answer");
        assert_false(f->done);
        shutdown(f->b, SHUT_WR);
        run(f->event);
        assert_true(f->done);
}

static void who_leaves_ends_it(void **state) {
        Fixture *f = *state;
        char c;

        f->a = safe_close(f->a);
        run(f->event);
        assert_int_equal(recv(f->b, &c, 1, 0), 0);
        f->b = safe_close(f->b);
        run(f->event);
        assert_true(f->done);
}

static void who_leaves_after_its_end_of_file_is_noticed(void **state) {
        Fixture *f = *state;

        shutdown(f->a, SHUT_WR);
        run(f->event);
        assert_false(f->done);
        f->a = safe_close(f->a);
        run(f->event);
        assert_true(f->done);
}

/* The amount the sockets hold is bounded, and so is what the relay keeps. */
static void a_slow_reader_holds_its_writer_up_and_loses_nothing(void **state) {
        Fixture *f = *state;
        uint8_t out[4096], in[4096];
        size_t sent = 0, received = 0;
        ssize_t n;

        for (;;) {
                for (size_t i = 0; i < sizeof(out); i++)
                        out[i] = (uint8_t) ((sent + i) * 7 / 5);
                n = send(f->a, out, sizeof(out), 0);
                if (n < 0) {
                        size_t before = sent;

                        run(f->event);
                        n = send(f->a, out, sizeof(out), 0);
                        if (n < 0 && sent == before)
                                break;
                }
                sent += (size_t) MAX2(n, 0);
                assert_true(sent < 16u * 1024u * 1024u);
        }
        f->a = safe_close(f->a); /* with all that is on its way */
        run(f->event);
        while (received < sent) {
                n = recv(f->b, in, sizeof(in), 0);
                if (n < 0) {
                        run(f->event);
                        continue;
                }
                assert_true(n > 0);
                for (ssize_t i = 0; i < n; i++)
                        assert_int_equal(in[i], (uint8_t) ((received + (size_t) i) * 7 / 5));
                received += (size_t) n;
        }
        run(f->event);
        assert_int_equal(recv(f->b, in, 1, 0), 0);
}

static void on_drained(Drain *d, void *userdata) {
        *(bool *) userdata = true;
}

static void drain(int fd, size_t max, size_t size, bool truncated) {
        _cleanup_event_ sd_event *event = NULL;
        bool ended = false;
        Drain d;

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(MIN2(drain_start(&d, event, fd, max, on_drained, &ended), 0), 0);
        run(event);
        assert_true(ended && d.ended);
        assert_int_equal(d.size, size);
        assert_int_equal(d.truncated, truncated);
        for (size_t i = 0; i < size; i++)
                assert_int_equal(d.data[i], 'x');
        drain_done(&d);
}

static void a_drain_keeps_what_it_may_of_sockets_pipes_and_files(void **state) {
        char text[3000];
        int fds[2], fd;

        memset(text, 'x', sizeof(text));
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(send(fds[0], text, sizeof(text), 0), sizeof(text));
        close(fds[0]);
        drain(fds[1], 1000, 1000, true);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(write(fds[1], text, sizeof(text)), sizeof(text));
        close(fds[1]);
        drain(fds[0], 3000, 3000, false);
        fd = memfd_create("text", MFD_CLOEXEC);
        assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        drain(fd, 2999, 2999, true);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(bytes_go_both_ways, setup, teardown),
                cmocka_unit_test_setup_teardown(the_end_of_one_way_leaves_the_other_open, setup, teardown),
                cmocka_unit_test_setup_teardown(who_leaves_ends_it, setup, teardown),
                cmocka_unit_test_setup_teardown(who_leaves_after_its_end_of_file_is_noticed, setup, teardown),
                cmocka_unit_test_setup_teardown(a_slow_reader_holds_its_writer_up_and_loses_nothing, setup, teardown),
                cmocka_unit_test(a_drain_keeps_what_it_may_of_sockets_pipes_and_files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
