/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/fd-util.h"
#include "guest-init/channel.h"

static Channel channel;
static int host;
static GpWriter writer;

static int setup(void **state) {
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -1;
        host = fds[0];
        channel_init(&channel, fds[1]);
        return 0;
}

static int teardown(void **state) {
        host = safe_close(host);
        channel_done(&channel);
        return 0;
}

static size_t frame(GpType type, uint32_t stream, const void *p, size_t n) {
        size_t size;

        gp_writer_init(&writer, type, stream);
        gp_writer_raw(&writer, p, n);
        assert_int_equal(gp_writer_finish(&writer, &size), 0);
        return size;
}

static void host_says(const void *p, size_t n) {
        assert_int_equal(write(host, p, n), n);
        channel_events(&channel, EPOLLIN);
}

static void frames_arrive_in_order(void **state) {
        const uint8_t *payload;
        GpHeader h;

        for (uint32_t i = 1; i <= 3; i++)
                host_says(writer.buf, frame(GP_STDIN, i, "abc", i));
        for (uint32_t i = 1; i <= 3; i++) {
                assert_int_equal(channel_next(&channel, &h, &payload), 1);
                assert_int_equal(h.stream, i);
                assert_int_equal(h.length, i);
                assert_memory_equal(payload, "abc", i);
        }
        assert_int_equal(channel_next(&channel, &h, &payload), 0);
        assert_false(channel.readable);
}

static void partial_frame_waits_for_its_rest(void **state) {
        const uint8_t *payload;
        GpHeader h;
        size_t n = frame(GP_EXEC, 5, "payload", 7);

        for (size_t i = 0; i + 1 < n; i++) {
                host_says(writer.buf + i, 1);
                assert_int_equal(channel_next(&channel, &h, &payload), 0);
        }
        host_says(writer.buf + n - 1, 1);
        assert_int_equal(channel_next(&channel, &h, &payload), 1);
        assert_memory_equal(payload, "payload", 7);
}

/* A virtio port reads as end of file while nobody has its other end open. Here: another socket afterwards. */
static void partial_frame_survives_a_reconnection(void **state) {
        const uint8_t *payload;
        size_t n = frame(GP_EXEC, 5, "payload", 7);
        int fds[2];
        GpHeader h;

        host_says(writer.buf, 4);
        assert_int_equal(channel_next(&channel, &h, &payload), 0);
        host = safe_close(host);
        channel_events(&channel, EPOLLIN | EPOLLHUP);
        assert_int_equal(channel_next(&channel, &h, &payload), 0);

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        host = fds[0];
        safe_close(channel.fd);
        channel.fd = fds[1];
        host_says(writer.buf + 4, n - 4);
        assert_int_equal(channel_next(&channel, &h, &payload), 1);
        assert_int_equal(h.stream, 5);
}

static void nonsense_is_told_once_and_ends_with_the_connection(void **state) {
        const uint8_t nonsense[GP_HEADER_SIZE] = { 0xff, 0xff, 0xff, 0xff };
        const uint8_t *payload;
        int fds[2];
        GpHeader h;

        host_says(nonsense, sizeof(nonsense));
        assert_int_equal(channel_next(&channel, &h, &payload), -EBADMSG);
        host_says(writer.buf, frame(GP_EXEC, 5, "ignored", 7));
        assert_int_equal(channel_next(&channel, &h, &payload), 0);
        host = safe_close(host);
        channel_events(&channel, EPOLLHUP);
        assert_int_equal(channel_next(&channel, &h, &payload), 0);

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        host = fds[0];
        safe_close(channel.fd);
        channel.fd = fds[1];
        host_says(writer.buf, frame(GP_EXEC, 6, "heard", 5));
        assert_int_equal(channel_next(&channel, &h, &payload), 1);
        assert_int_equal(h.stream, 6);
}

static void frames_are_written_whole(void **state) {
        const uint8_t *payload;
        uint8_t buf[256];
        size_t size;
        ssize_t n;
        GpHeader h;

        gp_writer_init(&writer, GP_HELLO, 0);
        gp_writer_u32(&writer, GP_FIELD_VERSION, 1);
        assert_int_equal(channel_send(&channel, &writer), 0);
        memcpy(channel_reserve_data(&channel, 100), "data", 4);
        channel_send_data(&channel, GP_STDOUT, 3, 4);
        assert_int_equal(channel_flush(&channel), 0);
        assert_int_equal(buffer_size(&channel.out), 0);

        n = read(host, buf, sizeof(buf));
        assert_true(n > 0);
        assert_int_equal(gp_frame_next(buf, (size_t) n, &h, &payload, &size), 1);
        assert_int_equal(h.type, GP_HELLO);
        assert_int_equal(gp_frame_next(buf + size, (size_t) n - size, &h, &payload, &size), 1);
        assert_int_equal(h.type, GP_STDOUT);
        assert_int_equal(h.stream, 3);
        assert_memory_equal(payload, "data", 4);
}

static void full_channel_takes_no_more_data(void **state) {
        unsigned frames = 0;

        while (channel_takes_data(&channel)) {
                uint8_t *p = channel_reserve_data(&channel, GP_DATA_MAX);

                assert_non_null(p);
                memset(p, 'x', GP_DATA_MAX);
                channel_send_data(&channel, GP_STDOUT, 1, GP_DATA_MAX);
                assert_true(++frames < 100);
        }
        assert_true(buffer_size(&channel.out) < CHANNEL_DATA_HIGH + GP_FRAME_MAX);
}

/* Nobody reads: what the host still says is left where it is once the answers pile up. */
static void unread_answers_stop_the_reading(void **state) {
        static const uint8_t answer[GP_PAYLOAD_MAX];
        const uint8_t *payload;
        unsigned answered = 0;
        GpHeader h;

        channel.writable = false;
        for (unsigned i = 0; i < 20; i++)
                host_says(writer.buf, frame(GP_RESUME, 0, "", 0));
        while (channel_next(&channel, &h, &payload) > 0) {
                (void) frame(GP_RESUMED, 0, answer, sizeof(answer));
                assert_int_equal(channel_send(&channel, &writer), 0);
                answered++;
        }
        assert_int_equal(answered, 2 * CHANNEL_DATA_HIGH / GP_PAYLOAD_MAX);
}

static void bytes_come_out_as_they_went_in(void **state) {
        uint64_t put = 0, got = 0, x = 1;
        Buffer b = {};

        while (got < 2000000) {
                size_t n = (x = x * 6364136223846793005u + 1442695040888963407u) >> 50;
                uint8_t *p = buffer_reserve(&b, n);

                assert_true(n == 0 || p);
                for (size_t i = 0; i < n; i++)
                        p[i] = (uint8_t) (put + i * 1);
                buffer_commit(&b, n);
                put += n;
                n = MIN2(buffer_size(&b), (size_t) (x >> 20) % 17000);
                for (size_t i = 0; i < n; i++)
                        assert_int_equal(buffer_front(&b)[i], (uint8_t) (got + i));
                buffer_consume(&b, n);
                got += n;
        }
        buffer_done(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(frames_arrive_in_order, setup, teardown),
                cmocka_unit_test_setup_teardown(partial_frame_waits_for_its_rest, setup, teardown),
                cmocka_unit_test_setup_teardown(partial_frame_survives_a_reconnection, setup, teardown),
                cmocka_unit_test_setup_teardown(nonsense_is_told_once_and_ends_with_the_connection, setup, teardown),
                cmocka_unit_test_setup_teardown(frames_are_written_whole, setup, teardown),
                cmocka_unit_test_setup_teardown(full_channel_takes_no_more_data, setup, teardown),
                cmocka_unit_test_setup_teardown(unread_answers_stop_the_reading, setup, teardown),
                cmocka_unit_test(bytes_come_out_as_they_went_in),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
