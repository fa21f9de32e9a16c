/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/string-util.h"
#include "imaged/archive-sniff.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef struct Tar {
        char data[64 * 512];
        size_t n;
} Tar;

static void add(Tar *t, const char *name, char type, size_t size) {
        char *h = t->data + t->n;
        unsigned sum = 0;

        memset(h, 0, 512);
        memcpy(h, name, strlen(name));
        (void) snprintf(h + 100, 8, "%07o", 0644u);
        (void) snprintf(h + 124, 12, "%011zo", size);
        (void) snprintf(h + 257, 6, "ustar");
        memset(h + 148, ' ', 8);
        h[156] = type;
        for (size_t i = 0; i < 512; i++)
                sum += (unsigned char) h[i];
        (void) snprintf(h + 148, 8, "%06o", sum);
        t->n += 512 + (size + 511) / 512 * 512;
}

static Sniff sniff_one(const char *name) {
        Tar t = {};

        add(&t, name, '0', 3);
        return archive_sniff(t.data, t.n);
}

static void names_that_only_archives_of_images_begin_with(void **state) {
        static const char *const names[] = { "blobs", "blobs/", "blobs/sha256/", "oci-layout", "./oci-layout", "index.json",
                                             "manifest.json", "repositories", HEX64, HEX64 "/", HEX64 "/layer.tar",
                                             HEX64 ".json", HEX64 ".tar", "././blobs/x", "/blobs" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sniff_one(names[i]) != SNIFF_ARCHIVE)
                        fail_msg("%s", names[i]);
}

static void names_of_root_file_systems(void **state) {
        static const char *const names[] = { "bin", "./bin/", "etc/passwd", "blob", "blobs2", "index.json2", ".hidden", "..",
                                             HEX64 "0", HEX64 ".txt", "x/blobs", "usr/index.json" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sniff_one(names[i]) != SNIFF_ROOTFS)
                        fail_msg("%s", names[i]);
}

static void what_says_nothing_is_looked_past(void **state) {
        Tar t = {};

        add(&t, "./", '5', 0);
        assert_int_equal(archive_sniff(t.data, t.n), SNIFF_MORE);
        add(&t, "./PaxHeaders/x", 'x', 1000);
        add(&t, "pax_global_header", 'g', 10);
        add(&t, "././@LongLink", 'L', 200);
        assert_int_equal(archive_sniff(t.data, t.n), SNIFF_MORE);
        add(&t, "oci-layout", '0', 20);
        assert_int_equal(archive_sniff(t.data, t.n), SNIFF_ARCHIVE);
        for (size_t n = 0; n < 512 + 512 + 1024 + 1024 + 1024 + 512; n += 100)
                assert_int_equal(archive_sniff(t.data, n), SNIFF_MORE);
}

static void what_is_no_tar_is_left_to_others(void **state) {
        static const char gzip[600] = "\x1f\x8b\x08";
        char zeros[1024] = {};
        Tar t = {};

        assert_int_equal(archive_sniff(gzip, sizeof(gzip)), SNIFF_UNKNOWN);
        assert_int_equal(archive_sniff(zeros, sizeof(zeros)), SNIFF_UNKNOWN);
        assert_int_equal(archive_sniff("", 0), SNIFF_MORE);
        add(&t, "blobs", '0', 0);
        t.data[150] ^= 1; /* the checksum */
        assert_int_equal(archive_sniff(t.data, t.n), SNIFF_UNKNOWN);
        t = (Tar) {};
        add(&t, "x", 'x', 4096);
        memcpy(t.data + 124, "77777777777", 11);
        assert_int_equal(archive_sniff(t.data, 512), SNIFF_UNKNOWN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_that_only_archives_of_images_begin_with),
                cmocka_unit_test(names_of_root_file_systems),
                cmocka_unit_test(what_says_nothing_is_looked_past),
                cmocka_unit_test(what_is_no_tar_is_left_to_others),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
