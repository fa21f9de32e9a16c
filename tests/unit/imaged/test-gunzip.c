/* SPDX-License-Identifier: Apache-2.0 */

/* gzip in pieces of any size: what comes out, and how its end is known. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <zlib.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "imaged/gunzip.h"

#define TEXT_SIZE (3u << 20)
#define GZIP_MAX (4u << 20)

typedef struct Source {
        const uint8_t *data;
        size_t size, piece;
        int error; /* instead of the end */
} Source;

static ssize_t give(void *userdata, const void **ret) {
        Source *s = userdata;
        size_t n = MIN2(s->piece, s->size);

        if (n == 0 && s->error < 0)
                return s->error;
        *ret = s->data;
        s->data += n;
        s->size -= n;
        return (ssize_t) n;
}

/* Something between random and boring, the same for each. */
static uint8_t *text(void) {
        uint8_t *p = malloc(TEXT_SIZE);
        uint32_t x = 12345;

        assert_non_null(p);
        for (size_t i = 0; i < TEXT_SIZE; i++) {
                x = x * 1103515245 + 12345;
                p[i] = (i >> 12) % 3 ? (uint8_t) (x >> 16) : (uint8_t) ('a' + (x >> 29));
        }
        return p;
}

static size_t gzip(const void *p, size_t n, int level, uint8_t *ret) {
        z_stream z = { .next_in = (Bytef *) p, .avail_in = (uInt) n, .next_out = ret, .avail_out = GZIP_MAX };

        assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        assert_int_equal(deflateEnd(&z), Z_OK);
        return z.total_out;
}

/* Compares with what it must be; 0 or the error it ended with. */
static int gunzip(Source *s, const uint8_t *expected, size_t size) {
        _cleanup_(gunzip_freep) Gunzip *g = NULL;
        const void *p;
        size_t n = 0;
        ssize_t k;

        assert_int_equal(gunzip_new(give, s, &g), 0);
        while ((k = gunzip_next(g, &p)) > 0) {
                assert_true((size_t) k <= size - n);
                assert_memory_equal(p, expected + n, (size_t) k);
                n += (size_t) k;
        }
        if (k == 0)
                assert_int_equal(n, size);
        return (int) k;
}

static void it_comes_out_whatever_the_pieces(void **state) {
        static const size_t pieces[] = { 1, 2, 3, 7, 13, 1000, 65536, GZIP_MAX };
        static const int levels[] = { 0, 1, 6, 9 };
        _cleanup_free_ uint8_t *t = text(), *z = malloc(GZIP_MAX);

        for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
                for (size_t k = 0; k < ELEMENTSOF(pieces); k++) {
                        /* Each piece costs ISA-L some 32 KiB of moving. */
                        size_t size = pieces[k] < 1000 ? 30000 : TEXT_SIZE;

                        assert_int_equal(gunzip(&(Source) { z, gzip(t, size, levels[i], z), pieces[k], 0 }, t, size), 0);
                }
        }
}

/* As pigz and "cat" make them; with zeros behind, as tape drives do. */
static void several_streams_are_one(void **state) {
        static const size_t parts[] = { 0, 1, 100, 40000, 70000, 0, 5 };
        _cleanup_free_ uint8_t *t = text(), *z = malloc(2 * GZIP_MAX);

        for (size_t piece = 31; piece <= 4096; piece = piece * 2 + 1) {
                size_t n = 0, k = 0;

                for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                        n += gzip(t + k, parts[i], 6, z + n);
                        k += parts[i];
                }
                memset(z + n, 0, 1000);
                assert_int_equal(gunzip(&(Source) { z, n + 1000, piece, 0 }, t, k), 0);
        }
}

static void a_stream_cut_short_is_told(void **state) {
        _cleanup_free_ uint8_t *t = text(), *z = malloc(GZIP_MAX);
        size_t n = gzip(t, 2000, 6, z);

        for (size_t k = 2; k < n; k++)
                assert_int_equal(gunzip(&(Source) { z, k, 100, 0 }, t, 2000), -ENODATA);
}

static void damage_is_told(void **state) {
        _cleanup_free_ uint8_t *t = text(), *z = malloc(GZIP_MAX);
        size_t n = gzip(t, 200000, 6, z);

        for (size_t k = n - 8; k < n; k++) { /* the checksum and the size */
                z[k] ^= 0x10;
                assert_int_equal(gunzip(&(Source) { z, n, 1000, 0 }, t, 200000), -EBADMSG);
                z[k] ^= 0x10;
        }
        z[2] ^= 1; /* no method of compression that there is */
        assert_int_equal(gunzip(&(Source) { z, n, 1000, 0 }, t, 200000), -EBADMSG);
}

static void an_error_of_the_source_is_handed_on(void **state) {
        _cleanup_free_ uint8_t *t = text(), *z = malloc(GZIP_MAX);
        size_t n = gzip(t, 2000, 6, z);

        assert_int_equal(gunzip(&(Source) { z, n / 2, 100, -EIO }, t, 2000), -EIO);
}

static void gzip_is_known_by_its_first_bytes(void **state) {
        assert_true(gunzip_is_gzip("\x1f\x8b", 2));
        assert_false(gunzip_is_gzip("\x1f\x8b", 1));
        assert_false(gunzip_is_gzip("\x1f\x8c\x08", 3));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_comes_out_whatever_the_pieces),
                cmocka_unit_test(several_streams_are_one),
                cmocka_unit_test(a_stream_cut_short_is_told),
                cmocka_unit_test(damage_is_told),
                cmocka_unit_test(an_error_of_the_source_is_handed_on),
                cmocka_unit_test(gzip_is_known_by_its_first_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
