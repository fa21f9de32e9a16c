/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/strv.h"
#include "guest-protocol/guest-protocol.h"

/* A writer is 32 KiB; one for all tests keeps the stack small. */
static GpWriter writer;

static size_t finished(void) {
        size_t n = 0;

        assert_int_equal(gp_writer_finish(&writer, &n), 0);
        return n;
}

static void header_survives_a_round_trip(void **state) {
        GpHeader in = { .length = GP_PAYLOAD_MAX, .type = GP_WINDOW_UPDATE, .stream = 0xfedcba98u }, out;
        uint8_t b[GP_HEADER_SIZE];

        gp_header_write(b, &in);
        assert_int_equal(gp_header_parse(b, &out), 0);
        assert_int_equal(out.length, in.length);
        assert_int_equal(out.type, in.type);
        assert_int_equal(out.stream, in.stream);
}

static void header_is_little_endian_on_the_wire(void **state) {
        static const uint8_t expected[GP_HEADER_SIZE] = { 0x34, 0x12, 0, 0, 66, 0, 0, 0, 0x78, 0x56, 0x34, 0x12 };
        GpHeader h = { .length = 0x1234, .type = GP_STDIN, .stream = 0x12345678u };
        uint8_t b[GP_HEADER_SIZE];

        gp_header_write(b, &h);
        assert_memory_equal(b, expected, sizeof(b));
}

static void header_with_oversize_length_is_refused(void **state) {
        GpHeader in = { .length = GP_PAYLOAD_MAX + 1, .type = GP_STDIN }, out;
        uint8_t b[GP_HEADER_SIZE];

        gp_header_write(b, &in);
        assert_int_equal(gp_header_parse(b, &out), -EBADMSG);

        memset(b, 0xff, 4);
        assert_int_equal(gp_header_parse(b, &out), -EBADMSG);
}

static void header_with_reserved_bits_is_refused(void **state) {
        uint8_t b[GP_HEADER_SIZE] = { [4] = GP_HELLO, [7] = 0x80 };
        GpHeader out;

        assert_int_equal(gp_header_parse(b, &out), -EBADMSG);
}

static void frame_is_complete_only_with_its_last_byte(void **state) {
        const uint8_t *payload = NULL;
        size_t n, size = 0;
        GpHeader h;

        gp_writer_init(&writer, GP_STDOUT, 7);
        gp_writer_raw(&writer, "hello", 5);
        n = finished();
        assert_int_equal(n, GP_HEADER_SIZE + 5);

        for (size_t i = 0; i < n; i++)
                assert_int_equal(gp_frame_next(writer.buf, i, &h, &payload, &size), 0);

        assert_int_equal(gp_frame_next(writer.buf, n, &h, &payload, &size), 1);
        assert_int_equal(h.type, GP_STDOUT);
        assert_int_equal(h.stream, 7);
        assert_int_equal(h.length, 5);
        assert_int_equal(size, n);
        assert_ptr_equal(payload, writer.buf + GP_HEADER_SIZE);
        assert_memory_equal(payload, "hello", 5);

        /* What follows it is left alone. */
        assert_int_equal(gp_frame_next(writer.buf, n + 100, &h, &payload, &size), 1);
        assert_int_equal(size, n);
}

static void empty_frame_is_a_whole_frame(void **state) {
        const uint8_t *payload;
        size_t size = 0;
        GpHeader h;

        gp_writer_init(&writer, GP_CLOSE, 3);
        assert_int_equal(finished(), GP_HEADER_SIZE);
        assert_int_equal(gp_frame_next(writer.buf, GP_HEADER_SIZE, &h, &payload, &size), 1);
        assert_int_equal(size, GP_HEADER_SIZE);
        assert_int_equal(h.length, 0);
}

static void broken_frame_is_refused_before_it_is_complete(void **state) {
        uint8_t b[GP_HEADER_SIZE] = { 0xff, 0xff, 0xff, 0x7f, GP_HELLO };
        const uint8_t *payload;
        size_t size;
        GpHeader h;

        assert_int_equal(gp_frame_next(b, sizeof(b), &h, &payload, &size), -EBADMSG);
}

static void fields_survive_a_round_trip(void **state) {
        char *const argv[] = { (char *) "/bin/echo", (char *) "", (char *) "ä b", NULL };
        _cleanup_free_ char *s = NULL;
        const uint8_t *payload;
        size_t n, size, args = 0;
        uint64_t u64 = 0;
        uint32_t u32 = 0;
        GpReader r;
        GpHeader h;
        int k;

        gp_writer_init(&writer, GP_EXEC, 9);
        gp_writer_u32(&writer, GP_FIELD_TTY, 0xa1b2c3d4u);
        gp_writer_strv(&writer, GP_FIELD_ARG, argv);
        gp_writer_string(&writer, GP_FIELD_USER, NULL);
        gp_writer_u64(&writer, GP_FIELD_REALTIME, UINT64_C(0x0123456789abcdef));
        gp_writer_string(&writer, GP_FIELD_CWD, "/tmp");
        n = finished();
        assert_int_equal(gp_frame_next(writer.buf, n, &h, &payload, &size), 1);

        gp_reader_init(&r, payload, h.length);
        while ((k = gp_reader_next(&r)) > 0)
                switch (r.tag) {
                case GP_FIELD_TTY:
                        assert_int_equal(gp_reader_u32(&r, &u32), 0);
                        break;
                case GP_FIELD_REALTIME:
                        assert_int_equal(gp_reader_u64(&r, &u64), 0);
                        break;
                case GP_FIELD_CWD:
                        assert_int_equal(gp_reader_string(&r, &s), 0);
                        break;
                case GP_FIELD_ARG: {
                        _cleanup_free_ char *a = NULL;

                        assert_int_equal(gp_reader_string(&r, &a), 0);
                        assert_string_equal(a, argv[args++]);
                        break;
                }
                default:
                        fail();
                }

        assert_int_equal(k, 0);
        assert_int_equal(args, 3);
        assert_int_equal(u32, 0xa1b2c3d4u);
        assert_true(u64 == UINT64_C(0x0123456789abcdef));
        assert_string_equal(s, "/tmp");
}

static void unknown_field_is_skipped(void **state) {
        uint32_t u32 = 0;
        GpReader r;
        size_t n;

        gp_writer_init(&writer, GP_RESIZE, 1);
        gp_writer_bytes(&writer, (GpField) 0x7777, "whatever\0is in it", 17);
        gp_writer_u32(&writer, GP_FIELD_ROWS, 24);
        n = finished();

        gp_reader_init(&r, writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE);
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(r.tag, 0x7777);
        assert_int_equal(r.size, 17);
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(r.tag, GP_FIELD_ROWS);
        assert_int_equal(gp_reader_u32(&r, &u32), 0);
        assert_int_equal(u32, 24);
        assert_int_equal(gp_reader_next(&r), 0);
}

static void truncated_field_is_refused(void **state) {
        GpReader r;
        size_t n;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_HOSTNAME, "alice");
        n = finished() - GP_HEADER_SIZE;

        for (size_t i = 1; i < n; i++) {
                gp_reader_init(&r, writer.buf + GP_HEADER_SIZE, i);
                assert_int_equal(gp_reader_next(&r), -EBADMSG);
        }
}

static void field_longer_than_its_payload_is_refused(void **state) {
        const uint8_t b[] = { GP_FIELD_HOSTNAME, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x' };
        GpReader r;

        gp_reader_init(&r, b, sizeof(b));
        assert_int_equal(gp_reader_next(&r), -EBADMSG);
}

static void field_with_reserved_bits_is_refused(void **state) {
        const uint8_t b[] = { GP_FIELD_HOSTNAME, 0, 1, 0, 0, 0, 0, 0 };
        GpReader r;

        gp_reader_init(&r, b, sizeof(b));
        assert_int_equal(gp_reader_next(&r), -EBADMSG);
}

static void numbers_of_the_wrong_size_are_refused(void **state) {
        uint64_t u64;
        uint32_t u32;
        GpReader r;
        size_t n;

        gp_writer_init(&writer, GP_EXIT, 1);
        gp_writer_bytes(&writer, GP_FIELD_STATUS, "123", 3);
        n = finished();

        gp_reader_init(&r, writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE);
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_u32(&r, &u32), -EBADMSG);
        assert_int_equal(gp_reader_u64(&r, &u64), -EBADMSG);
}

static void string_with_a_nul_byte_is_refused(void **state) {
        char *s = NULL;
        GpReader r;
        size_t n;

        gp_writer_init(&writer, GP_EXEC, 1);
        gp_writer_bytes(&writer, GP_FIELD_ARG, "/bin/true\0-x", 12);
        gp_writer_bytes(&writer, GP_FIELD_ARG, "", 0);
        n = finished();

        gp_reader_init(&r, writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE);
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_string(&r, &s), -EBADMSG);
        assert_null(s);

        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_string(&r, &s), 0);
        assert_string_equal(s, "");
        free(s);
}

static void writer_takes_exactly_the_largest_payload(void **state) {
        static uint8_t big[GP_PAYLOAD_MAX + 1];

        gp_writer_init(&writer, GP_STDOUT, 1);
        gp_writer_raw(&writer, big, GP_PAYLOAD_MAX);
        assert_int_equal(finished(), GP_FRAME_MAX);

        gp_writer_init(&writer, GP_STDOUT, 1);
        gp_writer_raw(&writer, big, GP_PAYLOAD_MAX + 1);
        assert_int_equal(gp_writer_finish(&writer, &(size_t) { 0 }), -E2BIG);

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_bytes(&writer, GP_FIELD_ENV, big, GP_PAYLOAD_MAX - 8);
        assert_int_equal(finished(), GP_FRAME_MAX);

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_bytes(&writer, GP_FIELD_ENV, big, GP_PAYLOAD_MAX - 7);
        assert_int_equal(gp_writer_finish(&writer, &(size_t) { 0 }), -E2BIG);
}

static void writer_error_sticks(void **state) {
        static uint8_t big[GP_PAYLOAD_MAX + 1];
        size_t n;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_bytes(&writer, GP_FIELD_ENV, big, sizeof(big));
        n = writer.n;
        gp_writer_u32(&writer, GP_FIELD_TTY, 1);
        gp_writer_raw(&writer, "x", 1);
        assert_int_equal(writer.n, n);
        assert_int_equal(gp_writer_finish(&writer, &n), -E2BIG);

        /* A new frame is a new start. */
        gp_writer_init(&writer, GP_CLOSE, 1);
        assert_int_equal(finished(), GP_HEADER_SIZE);
}

static void stream_state_survives_a_round_trip(void **state) {
        GpStreamState in = {
                .stream = 17,
                .flags = GP_STREAM_TTY | GP_STREAM_STDIN_CLOSED,
                .stdin_taken = UINT64_C(1) << 40,
                .stdin_window = (UINT64_C(1) << 40) + GP_WINDOW,
                .stdout_sent = UINT64_MAX,
                .stderr_sent = 3,
        }, out;
        GpReader r;
        size_t n;

        gp_writer_init(&writer, GP_RESUMED, 0);
        gp_writer_stream_state(&writer, &in);
        gp_writer_u32(&writer, GP_FIELD_STREAM, 1);
        n = finished();
        assert_int_equal(n, GP_HEADER_SIZE + 8 + 48 + 8 + 4);

        gp_reader_init(&r, writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE);
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_stream_state(&r, &out), 0);
        assert_int_equal(out.stream, in.stream);
        assert_int_equal(out.flags, in.flags);
        assert_true(out.stdin_taken == in.stdin_taken && out.stdin_window == in.stdin_window);
        assert_true(out.stdout_sent == in.stdout_sent && out.stderr_sent == in.stderr_sent);

        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_stream_state(&r, &out), -EBADMSG);
}

/* RESUMED must be able to speak of every session at once. */
static void states_of_all_sessions_fit_one_frame(void **state) {
        gp_writer_init(&writer, GP_RESUMED, 0);
        gp_writer_u64(&writer, GP_FIELD_NONCE, 1);
        for (unsigned i = 0; i < GP_SESSIONS_MAX; i++)
                gp_writer_stream_state(&writer, &(GpStreamState) { .stream = i + 1 });
        assert_true(finished() <= GP_FRAME_MAX);
}

static const GpAddress v4 = { .family = AF_INET, .bytes = { 169, 254, 1, 1 } };
static const GpAddress v6 = { .family = AF_INET6, .bytes = { 0xfe, 0x80, [15] = 1 } };

static void addresses_prefixes_and_routes_survive_a_round_trip(void **state) {
        const GpPrefix prefix = { .address = v6, .length = 128 };
        const GpRoute routes[] = {
                { .destination = { { .family = AF_INET6, .bytes = { 0x04 } }, 7 }, .gateway = v6 },
                { .destination = { { .family = AF_INET }, 0 }, .gateway = v4 },
                { .destination = { v4, 32 } },
        };
        GpAddress address;
        GpPrefix p;
        GpReader r;
        GpRoute route;
        size_t n;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_address(&writer, GP_FIELD_DNS_SERVER, &v4);
        gp_writer_prefix(&writer, GP_FIELD_ADDRESS, &prefix);
        for (size_t i = 0; i < ELEMENTSOF(routes); i++)
                gp_writer_route(&writer, GP_FIELD_ROUTE, &routes[i]);
        n = finished();
        assert_int_equal(n, GP_HEADER_SIZE + 5 * 8 + 4 + 20 + 36 + 12 + 12);

        gp_reader_init(&r, writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE);
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_address(&r, &address), 0);
        assert_memory_equal(&address, &v4, sizeof(v4));
        assert_int_equal(gp_reader_next(&r), 1);
        assert_int_equal(gp_reader_prefix(&r, &p), 0);
        assert_memory_equal(&p.address, &v6, sizeof(v6));
        assert_int_equal(p.length, 128);
        for (size_t i = 0; i < ELEMENTSOF(routes); i++) {
                assert_int_equal(gp_reader_next(&r), 1);
                assert_int_equal(gp_reader_route(&r, &route), 0);
                assert_int_equal(route.destination.length, routes[i].destination.length);
                assert_memory_equal(&route.destination.address, &routes[i].destination.address, sizeof(GpAddress));
                assert_memory_equal(&route.gateway, &routes[i].gateway, sizeof(GpAddress));
        }
        assert_int_equal(gp_reader_next(&r), 0);
}

static void check_refused(int (*read)(const GpReader *r), const uint8_t *p, size_t n) {
        GpReader r = { .value = p, .size = (uint32_t) n };

        assert_int_equal(read(&r), -EBADMSG);
}

static int read_an_address(const GpReader *r) {
        GpAddress a;

        return gp_reader_address(r, &a);
}

static int read_a_prefix(const GpReader *r) {
        GpPrefix p;

        return gp_reader_prefix(r, &p);
}

static int read_a_route(const GpReader *r) {
        GpRoute route;

        return gp_reader_route(r, &route);
}

static void addresses_of_no_family_are_refused(void **state) {
        static const uint8_t zero[64];

        for (size_t n = 0; n < sizeof(zero); n++) {
                if (n != 4 && n != 16)
                        check_refused(read_an_address, zero, n);
                if (n != 8 && n != 20)
                        check_refused(read_a_prefix, zero, n);
                if (n != 12 && n != 36)
                        check_refused(read_a_route, zero, n);
        }
}

static void prefixes_that_make_no_sense_are_refused(void **state) {
        check_refused(read_a_prefix, (const uint8_t[8]) { 33, 0, 0, 0, 10, 0, 0, 1 }, 8);
        check_refused(read_a_prefix, (const uint8_t[8]) { 32, 0, 1, 0, 10, 0, 0, 1 }, 8);
        check_refused(read_a_prefix, (const uint8_t[20]) { 129 }, 20);
        /* Bits beyond the prefix: an address may have them, a destination not. */
        check_refused(read_a_route, (const uint8_t[12]) { 8, 0, 0, 0, 10, 0, 0, 1 }, 12);
        check_refused(read_a_route, (const uint8_t[12]) { 9, 0, 0, 0, 10, 0x40 }, 12);
        check_refused(read_a_route, (const uint8_t[36]) { 7, 0, 0, 0, 0x05 }, 36);
}

static void writing_an_address_of_no_family_is_an_error(void **state) {
        const GpRoute mixed = { .destination = { v6, 128 }, .gateway = v4 };
        size_t n;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_address(&writer, GP_FIELD_DNS_SERVER, &(GpAddress) {});
        assert_int_equal(gp_writer_finish(&writer, &n), -EINVAL);
        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_route(&writer, GP_FIELD_ROUTE, &mixed);
        assert_int_equal(gp_writer_finish(&writer, &n), -EINVAL);
}

static void every_type_has_a_name(void **state) {
        static const GpType first[] = { GP_HELLO, GP_BOOT, GP_WINDOW_UPDATE };
        static const GpType last[] = { GP_STOPPING, GP_RESUME, GP_WINDOW_UPDATE };

        for (size_t i = 0; i < ELEMENTSOF(first); i++)
                for (unsigned t = first[i]; t <= last[i]; t++)
                        assert_non_null(gp_type_to_string((GpType) t));

        assert_string_equal(gp_type_to_string(GP_EXEC_FAILED), "exec-failed");
        assert_null(gp_type_to_string((GpType) 0));
        assert_null(gp_type_to_string((GpType) 63));
        assert_null(gp_type_to_string((GpType) 65535));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(header_survives_a_round_trip),
                cmocka_unit_test(header_is_little_endian_on_the_wire),
                cmocka_unit_test(header_with_oversize_length_is_refused),
                cmocka_unit_test(header_with_reserved_bits_is_refused),
                cmocka_unit_test(frame_is_complete_only_with_its_last_byte),
                cmocka_unit_test(empty_frame_is_a_whole_frame),
                cmocka_unit_test(broken_frame_is_refused_before_it_is_complete),
                cmocka_unit_test(fields_survive_a_round_trip),
                cmocka_unit_test(unknown_field_is_skipped),
                cmocka_unit_test(truncated_field_is_refused),
                cmocka_unit_test(field_longer_than_its_payload_is_refused),
                cmocka_unit_test(field_with_reserved_bits_is_refused),
                cmocka_unit_test(numbers_of_the_wrong_size_are_refused),
                cmocka_unit_test(string_with_a_nul_byte_is_refused),
                cmocka_unit_test(writer_takes_exactly_the_largest_payload),
                cmocka_unit_test(writer_error_sticks),
                cmocka_unit_test(stream_state_survives_a_round_trip),
                cmocka_unit_test(states_of_all_sessions_fit_one_frame),
                cmocka_unit_test(addresses_prefixes_and_routes_survive_a_round_trip),
                cmocka_unit_test(addresses_of_no_family_are_refused),
                cmocka_unit_test(prefixes_that_make_no_sense_are_refused),
                cmocka_unit_test(writing_an_address_of_no_family_is_an_error),
                cmocka_unit_test(every_type_has_a_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
