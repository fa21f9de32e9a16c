/* SPDX-License-Identifier: Apache-2.0 */

/* The mock guest's agent, spoken to as the daemon does: it has to be as good a guest as hero-init, or what is
 * tested with it is worth little. */

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-protocol/flow.h"

#define PATIENCE_MSEC 20000

typedef struct Guest {
        pid_t pid;
        int agent, console, monitor;
        int agent_end; /* the VMM's, kept by who can sleep; memory likewise */
        int memory;
        uint8_t buf[GP_FRAME_MAX];
        size_t n, consumed;
        GpWriter writer;
} Guest;

static void start(Guest *g, const char *script) {
        _cleanup_free_ char *path = strprintf("%s/hero-mock-vmm", getenv("HERO_LIBEXEC_DIR")),
                            *word = strprintf("script=%s", script);
        char *argv[] = { path, (char *) "agent=10", (char *) "console=11", (char *) "monitor=12", word, NULL };
        posix_spawn_file_actions_t a;
        int pairs[3][2];

        posix_spawn_file_actions_init(&a);
        for (int i = 0; i < 3; i++) {
                assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), errno);
                posix_spawn_file_actions_adddup2(&a, pairs[i][1], 10 + i);
        }
        assert_int_equal(posix_spawn(&g->pid, path, &a, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&a);
        for (int i = 0; i < 3; i++)
                close(pairs[i][1]);
        g->agent = pairs[0][0];
        g->console = pairs[1][0];
        g->monitor = pairs[2][0];
}

/* Its memory is in a file, and the channel of its agent the same each time. */
static void start_in_bed(Guest *g, bool incoming) {
        _cleanup_free_ char *path = strprintf("%s/hero-mock-vmm", getenv("HERO_LIBEXEC_DIR"));
        char *argv[] = { path, (char *) "agent=10", (char *) "monitor=12", (char *) "memory=13",
                         incoming ? (char *) "incoming=yes" : NULL, NULL };
        posix_spawn_file_actions_t a;
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        posix_spawn_file_actions_init(&a);
        posix_spawn_file_actions_adddup2(&a, g->agent_end, 10);
        posix_spawn_file_actions_adddup2(&a, pair[1], 12);
        posix_spawn_file_actions_adddup2(&a, g->memory, 13);
        assert_int_equal(posix_spawn(&g->pid, path, &a, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&a);
        close(pair[1]);
        g->monitor = pair[0];
}

static void start_bed(Guest *g) {
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        g->agent = pair[0];
        g->agent_end = pair[1];
        g->console = -EBADF;
        g->memory = memfd_create("hero-test-memory", MFD_CLOEXEC);
        assert_return_code(g->memory, errno);
        assert_return_code(ftruncate(g->memory, 1 << 20), errno);
        start_in_bed(g, false);
}

/* One command, whose answer is the last that comes. */
static void monitor(Guest *g, const char *command, int fd) {
        char buf[512] = "";
        size_t n = 0;
        ssize_t k;

        assert_return_code(send_fds(g->monitor, command, strlen(command), &fd, fd >= 0, 0), 0);
        while (!strstr(buf, "7 ")) {
                k = read(g->monitor, buf + n, sizeof(buf) - 1 - n);
                assert_true(k > 0);
                n += (size_t) k;
                buf[n] = 0;
        }
        if (!strstr(buf, "7 ok\n"))
                fail_msg("%s: %s", command, buf);
}

static int end(Guest *g) {
        int status;

        assert_int_equal(waitpid(g->pid, &status, 0), g->pid);
        g->pid = 0;
        return status;
}

/* The next frame; its payload lies behind the header in g->buf until the next call. */
static GpHeader receive(Guest *g, const uint8_t **ret_payload) {
        GpHeader h;
        size_t size;
        int r;

        memmove(g->buf, g->buf + g->consumed, g->n - g->consumed);
        g->n -= g->consumed;
        g->consumed = 0;
        while ((r = gp_frame_next(g->buf, g->n, &h, ret_payload, &size)) == 0) {
                struct pollfd p = { .fd = g->agent, .events = POLLIN };
                ssize_t k;

                if (poll(&p, 1, PATIENCE_MSEC) != 1)
                        fail_msg("no frame came");
                k = read(g->agent, g->buf + g->n, sizeof(g->buf) - g->n);
                if (k <= 0)
                        fail_msg("the agent hung up");
                g->n += (size_t) k;
        }
        assert_int_equal(r, 1);
        g->consumed = size;
        return h;
}

static const uint8_t *expect(Guest *g, GpType type, uint32_t stream, size_t *ret_length) {
        const uint8_t *payload;
        GpHeader h = receive(g, &payload);

        if (h.type != type || h.stream != stream)
                fail_msg("%s on %u came, not %s on %u", strna(gp_type_to_string(h.type)), h.stream,
                         gp_type_to_string(type), stream);
        if (ret_length)
                *ret_length = h.length;
        return payload;
}

static uint32_t number(const uint8_t *p, size_t n, GpField tag) {
        uint32_t v = UINT32_MAX;
        GpReader r;

        gp_reader_init(&r, p, n);
        while (gp_reader_next(&r) > 0)
                if (r.tag == tag)
                        assert_int_equal(gp_reader_u32(&r, &v), 0);
        return v;
}

static void send_frame(Guest *g) {
        size_t n;

        assert_int_equal(gp_writer_finish(&g->writer, &n), 0);
        assert_return_code(write_all(g->agent, g->writer.buf, n), 0);
}

static void boot(Guest *g, const char *script) {
        size_t n;
        const uint8_t *p;

        start(g, script);
        p = expect(g, GP_HELLO, 0, &n);
        assert_int_equal(number(p, n, GP_FIELD_VERSION), GP_VERSION_MAJOR << 16 | GP_VERSION_MINOR);
        gp_writer_init(&g->writer, GP_BOOT, 0);
        gp_writer_string(&g->writer, GP_FIELD_HOSTNAME, "mock");
        send_frame(g);
}

static void boot_ready(Guest *g) {
        boot(g, "");
        (void) expect(g, GP_READY, 0, NULL);
}

static void exec(Guest *g, uint32_t stream, bool tty, ...) {
        const char *word;
        va_list ap;

        gp_writer_init(&g->writer, GP_EXEC, stream);
        va_start(ap, tty);
        while ((word = va_arg(ap, const char *)))
                gp_writer_string(&g->writer, GP_FIELD_ARG, word);
        va_end(ap);
        gp_writer_string(&g->writer, GP_FIELD_ENV, "COLOUR=blue");
        gp_writer_string(&g->writer, GP_FIELD_CWD, "/srv");
        if (tty) {
                gp_writer_u32(&g->writer, GP_FIELD_TTY, 1);
                gp_writer_u32(&g->writer, GP_FIELD_ROWS, 24);
                gp_writer_u32(&g->writer, GP_FIELD_COLUMNS, 80);
        }
        send_frame(g);
}

static void send_stdin(Guest *g, uint32_t stream, const void *p, size_t n) {
        gp_writer_init(&g->writer, GP_STDIN, stream);
        gp_writer_raw(&g->writer, p, n);
        send_frame(g);
}

static void expect_output(Guest *g, GpType type, uint32_t stream, const char *text) {
        const uint8_t *p;
        size_t n;

        p = expect(g, type, stream, &n);
        assert_int_equal(n, strlen(text));
        assert_memory_equal(p, text, n);
}

static uint32_t expect_exit(Guest *g, uint32_t stream, bool tty, GpField field) {
        const uint8_t *p;
        size_t n;

        expect_output(g, GP_STDOUT, stream, "");
        if (!tty)
                expect_output(g, GP_STDERR, stream, "");
        p = expect(g, GP_EXIT, stream, &n);
        return number(p, n, field);
}

static int setup(void **state) {
        *state = calloc(1, sizeof(Guest));
        return *state ? 0 : -1;
}

static int teardown(void **state) {
        Guest *g = *state;

        if (g->pid > 0) {
                kill(g->pid, SIGKILL);
                end(g);
        }
        close(g->agent);
        close(g->console);
        close(g->monitor);
        free(g);
        return 0;
}

static void a_boot_ends_with_ready(void **state) {
        boot_ready(*state);
}

static void a_failed_boot_says_why_and_powers_off(void **state) {
        Guest *g = *state;
        size_t n;
        const uint8_t *p;

        boot(g, "boot-failed");
        p = expect(g, GP_BOOT_FAILED, 0, &n);
        assert_int_equal(number(p, n, GP_FIELD_ERRNO), EIO);
        assert_int_equal(end(g), 0);
}

static void commands_have_output_and_status(void **state) {
        Guest *g = *state;

        boot_ready(g);
        exec(g, 1, false, "/bin/echo", "two", "words", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        expect_output(g, GP_STDOUT, 1, "two words\n");
        assert_int_equal(expect_exit(g, 1, false, GP_FIELD_STATUS), 0);

        exec(g, 2, false, "sh", "-c", "exit 42", NULL);
        (void) expect(g, GP_STARTED, 2, NULL);
        assert_int_equal(expect_exit(g, 2, false, GP_FIELD_STATUS), 42);

        exec(g, 3, false, "env", NULL);
        (void) expect(g, GP_STARTED, 3, NULL);
        expect_output(g, GP_STDOUT, 3, "COLOUR=blue\n");
        assert_int_equal(expect_exit(g, 3, false, GP_FIELD_STATUS), 0);

        exec(g, 4, false, "pwd", NULL);
        (void) expect(g, GP_STARTED, 4, NULL);
        expect_output(g, GP_STDOUT, 4, "/srv\n");
        assert_int_equal(expect_exit(g, 4, false, GP_FIELD_STATUS), 0);
}

static void the_network_of_boot_can_be_asked_for(void **state) {
        const GpPrefix guest = { { AF_INET6, { 0x05, 0xab, [15] = 2 } }, 128 };
        const GpRoute routes[] = {
                { { { AF_INET6, { 0x04 } }, 7 }, { AF_INET6, { 0xfe, 0x80, [15] = 1 } } },
                { { { AF_INET, { 169, 254, 1, 1 } }, 32 }, {} },
        };
        const GpAddress dns = { AF_INET, { 9, 9, 9, 9 } };
        Guest *g = *state;

        start(g, "");
        (void) expect(g, GP_HELLO, 0, NULL);
        gp_writer_init(&g->writer, GP_BOOT, 0);
        gp_writer_prefix(&g->writer, GP_FIELD_ADDRESS, &guest);
        gp_writer_route(&g->writer, GP_FIELD_ROUTE, &routes[0]);
        gp_writer_route(&g->writer, GP_FIELD_ROUTE, &routes[1]);
        gp_writer_u32(&g->writer, GP_FIELD_MTU, 1400);
        gp_writer_address(&g->writer, GP_FIELD_DNS_SERVER, &dns);
        gp_writer_string(&g->writer, GP_FIELD_HOST, "5ab::2 alice");
        send_frame(g);
        (void) expect(g, GP_READY, 0, NULL);
        exec(g, 1, false, "boot", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        expect_output(g, GP_STDOUT, 1, "address 5ab::2/128\nroute 400::/7 fe80::1\nroute 169.254.1.1/32 -\nmtu 1400\n"
                                       "dns 9.9.9.9\nhost 5ab::2 alice\n");
        assert_int_equal(expect_exit(g, 1, false, GP_FIELD_STATUS), 0);
}

static void an_unknown_command_is_not_executed(void **state) {
        Guest *g = *state;
        const uint8_t *p;
        size_t n;

        boot_ready(g);
        exec(g, 1, false, "frobnicate", NULL);
        p = expect(g, GP_EXEC_FAILED, 1, &n);
        assert_int_equal(number(p, n, GP_FIELD_ERRNO), ENOENT);
}

static void a_signal_ends_a_session(void **state) {
        Guest *g = *state;

        boot_ready(g);
        exec(g, 1, false, "sleep", "1000", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        gp_writer_init(&g->writer, GP_SIGNAL, 1);
        gp_writer_u32(&g->writer, GP_FIELD_SIGNAL, SIGTERM);
        send_frame(g);
        assert_int_equal(expect_exit(g, 1, false, GP_FIELD_SIGNAL), SIGTERM);

        exec(g, 2, false, "cat", NULL);
        (void) expect(g, GP_STARTED, 2, NULL);
        gp_writer_init(&g->writer, GP_CLOSE, 2);
        send_frame(g);
        assert_int_equal(expect_exit(g, 2, false, GP_FIELD_SIGNAL), SIGHUP);
}

static void a_terminal_has_a_size_and_control_characters(void **state) {
        Guest *g = *state;

        boot_ready(g);
        exec(g, 1, true, "size", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        expect_output(g, GP_STDOUT, 1, "24 80\n");
        gp_writer_init(&g->writer, GP_RESIZE, 1);
        gp_writer_u32(&g->writer, GP_FIELD_ROWS, 50);
        gp_writer_u32(&g->writer, GP_FIELD_COLUMNS, 132);
        send_frame(g);
        expect_output(g, GP_STDOUT, 1, "50 132\n");
        send_stdin(g, 1, "\004", 1);
        assert_int_equal(expect_exit(g, 1, true, GP_FIELD_STATUS), 0);

        exec(g, 2, true, "sleep", "1000", NULL);
        (void) expect(g, GP_STARTED, 2, NULL);
        send_stdin(g, 2, "\003", 1);
        assert_int_equal(expect_exit(g, 2, true, GP_FIELD_SIGNAL), SIGINT);
}

/* Sends and takes by the windows only: a guest that overruns ours, or never opens its own, fails here. */
static void cat_gives_back_a_megabyte_within_the_windows(void **state) {
        enum { TOTAL = 1 << 20 };
        size_t sent = 0, got = 0, n;
        uint64_t offset;
        GpReceiver out;
        GpSender in;
        const uint8_t *p;
        uint8_t block[GP_DATA_MAX];
        GpHeader h;
        Guest *g = *state;

        gp_receiver_init(&out);
        gp_sender_init(&in);
        boot_ready(g);
        exec(g, 1, false, "cat", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        while (got < TOTAL) {
                while (sent < TOTAL && (n = MIN2(gp_sender_room(&in), (size_t) (TOTAL - sent))) > 0) {
                        for (size_t i = 0; i < n; i++)
                                block[i] = (uint8_t) ((sent + i) * 7 % 251);
                        send_stdin(g, 1, block, n);
                        gp_sender_sent(&in, n);
                        sent += n;
                }
                h = receive(g, &p);
                if (h.type == GP_WINDOW_UPDATE) {
                        GpReader r;

                        assert_int_equal(number(p, h.length, GP_FIELD_KIND), GP_STDIN);
                        gp_reader_init(&r, p, h.length);
                        while (gp_reader_next(&r) > 0)
                                if (r.tag == GP_FIELD_OFFSET) {
                                        assert_int_equal(gp_reader_u64(&r, &offset), 0);
                                        (void) gp_sender_window(&in, offset);
                                }
                        continue;
                }
                assert_int_equal(h.type, GP_STDOUT);
                assert_int_equal(gp_receiver_take(&out, h.length), 0);
                for (size_t i = 0; i < h.length; i++)
                        assert_int_equal(p[i], (got + i) * 7 % 251);
                got += h.length;
                if (gp_receiver_grant(&out, 0, &offset)) {
                        gp_writer_init(&g->writer, GP_WINDOW_UPDATE, 1);
                        gp_writer_u32(&g->writer, GP_FIELD_KIND, GP_STDOUT);
                        gp_writer_u64(&g->writer, GP_FIELD_OFFSET, offset);
                        send_frame(g);
                }
        }
        send_stdin(g, 1, NULL, 0);
        while ((h = receive(g, &p)).type == GP_WINDOW_UPDATE)
                ;
        assert_int_equal(h.type, GP_STDOUT);
        assert_int_equal(h.length, 0);
        (void) expect(g, GP_STDERR, 1, NULL);
        (void) expect(g, GP_EXIT, 1, NULL);
}

static void sleep_and_wake(Guest *g) {
        _cleanup_close_ int file = memfd_create("hero-test-state", MFD_CLOEXEC);

        assert_return_code(file, errno);
        monitor(g, "7 pause\n", -EBADF);
        monitor(g, "7 save\n", file);
        monitor(g, "7 quit\n", -EBADF);
        assert_int_equal(end(g), 0);
        close(g->monitor);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        start_in_bed(g, true);
        monitor(g, "7 load\n", file);
        monitor(g, "7 resume\n", -EBADF);
}

/* With frames that are half read and half written, and windows wherever they are. */
static void sessions_outlive_the_vmm(void **state) {
        static const char first[] = "before ", second[] = "meanwhile\n";
        size_t got = 0, n;
        uint64_t offset;
        GpReceiver out;
        const uint8_t *p;
        GpHeader h;
        Guest *g = *state;

        gp_receiver_init(&out);
        start_bed(g);
        (void) expect(g, GP_HELLO, 0, NULL);
        gp_writer_init(&g->writer, GP_BOOT, 0);
        gp_writer_string(&g->writer, GP_FIELD_HOSTNAME, "mock");
        send_frame(g);
        (void) expect(g, GP_READY, 0, NULL);
        exec(g, 1, false, "cat", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        send_stdin(g, 1, first, strlen(first));
        expect_output(g, GP_STDOUT, 1, first);
        for (unsigned i = 0; i < 2; i++) {
                gp_writer_init(&g->writer, GP_STDIN, 1);
                gp_writer_raw(&g->writer, second, strlen(second));
                assert_int_equal(gp_writer_finish(&g->writer, &n), 0);
                assert_int_equal(write(g->agent, g->writer.buf, n - 3), n - 3);
                sleep_and_wake(g);
                assert_int_equal(write(g->agent, g->writer.buf + n - 3, 3), 3);
                expect_output(g, GP_STDOUT, 1, second);
        }
        exec(g, 2, false, "spew", "300K", NULL);
        (void) expect(g, GP_STARTED, 2, NULL);
        sleep_and_wake(g);
        while ((h = receive(g, &p)).length > 0) {
                assert_int_equal(h.type, GP_STDOUT);
                assert_int_equal(h.stream, 2);
                assert_int_equal(gp_receiver_take(&out, h.length), 0);
                got += h.length;
                if (gp_receiver_grant(&out, 0, &offset)) {
                        gp_writer_init(&g->writer, GP_WINDOW_UPDATE, 2);
                        gp_writer_u32(&g->writer, GP_FIELD_KIND, GP_STDOUT);
                        gp_writer_u64(&g->writer, GP_FIELD_OFFSET, offset);
                        send_frame(g);
                }
        }
        assert_int_equal(got, 300 * 1024);
        (void) expect(g, GP_STDERR, 2, NULL);
        (void) expect(g, GP_EXIT, 2, NULL);
        exec(g, 3, false, "restored", NULL);
        (void) expect(g, GP_STARTED, 3, NULL);
        expect_output(g, GP_STDOUT, 3, "3\n");
        assert_int_equal(expect_exit(g, 3, false, GP_FIELD_STATUS), 0);
        close(g->agent_end);
        close(g->memory);
}

static void a_flood_stops_at_the_window(void **state) {
        struct pollfd p;
        const uint8_t *payload;
        GpReceiver out;
        Guest *g = *state;

        gp_receiver_init(&out);
        boot_ready(g);
        exec(g, 1, false, "spew", "100M", NULL);
        (void) expect(g, GP_STARTED, 1, NULL);
        p = (struct pollfd) { .fd = g->agent, .events = POLLIN };
        do {
                GpHeader h = receive(g, &payload);

                assert_int_equal(gp_receiver_take(&out, h.length), 0);
        } while (g->n > g->consumed || poll(&p, 1, 200) == 1);
        assert_true(out.taken > GP_WINDOW / 2);
}

static void a_restarted_host_is_told_where_everything_stands(void **state) {
        GpStreamState s;
        const uint8_t *p;
        unsigned found = 0;
        uint64_t nonce;
        GpReader r;
        size_t n;
        Guest *g = *state;

        boot_ready(g);
        exec(g, 7, false, "cat", NULL);
        (void) expect(g, GP_STARTED, 7, NULL);
        send_stdin(g, 7, "hello", 5);
        expect_output(g, GP_STDOUT, 7, "hello");
        gp_writer_init(&g->writer, GP_RESUME, 0);
        gp_writer_u64(&g->writer, GP_FIELD_NONCE, 4711);
        send_frame(g);
        p = expect(g, GP_RESUMED, 0, &n);
        gp_reader_init(&r, p, n);
        while (gp_reader_next(&r) > 0)
                if (r.tag == GP_FIELD_NONCE) {
                        assert_int_equal(gp_reader_u64(&r, &nonce), 0);
                        assert_int_equal(nonce, 4711);
                        found++;
                } else if (r.tag == GP_FIELD_STREAM) {
                        assert_int_equal(gp_reader_stream_state(&r, &s), 0);
                        assert_int_equal(s.stream, 7);
                        assert_int_equal(s.stdin_taken, 5 + GP_DATA_COST);
                        assert_int_equal(s.stdout_sent, 5 + GP_DATA_COST);
                        found++;
                }
        assert_int_equal(found, 2);
        assert_int_equal(number(p, n, GP_FIELD_PHASE), GP_PHASE_READY);
}

static void shutdown_ends_it_in_good_order(void **state) {
        Guest *g = *state;

        boot_ready(g);
        gp_writer_init(&g->writer, GP_SHUTDOWN, 0);
        gp_writer_u32(&g->writer, GP_FIELD_MODE, GP_POWEROFF);
        send_frame(g);
        (void) expect(g, GP_STOPPING, 0, NULL);
        assert_int_equal(end(g), 0);
}

static void too_many_sessions_are_refused(void **state) {
        Guest *g = *state;

        boot_ready(g);
        for (uint32_t i = 1; i <= GP_SESSIONS_MAX; i++) {
                exec(g, i, false, "sleep", "1000", NULL);
                (void) expect(g, GP_STARTED, i, NULL);
        }
        exec(g, 1000, false, "true", NULL);
        (void) expect(g, GP_EXEC_FAILED, 1000, NULL);
}

#define guest_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                guest_test(a_boot_ends_with_ready),
                guest_test(a_failed_boot_says_why_and_powers_off),
                guest_test(commands_have_output_and_status),
                guest_test(the_network_of_boot_can_be_asked_for),
                guest_test(an_unknown_command_is_not_executed),
                guest_test(a_signal_ends_a_session),
                guest_test(a_terminal_has_a_size_and_control_characters),
                guest_test(cat_gives_back_a_megabyte_within_the_windows),
                guest_test(sessions_outlive_the_vmm),
                guest_test(a_flood_stops_at_the_window),
                guest_test(a_restarted_host_is_told_where_everything_stands),
                guest_test(shutdown_ends_it_in_good_order),
                guest_test(too_many_sessions_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
