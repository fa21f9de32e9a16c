/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/string-util.h"
#include "imaged/reference.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void names_are_normalized_with_their_tag(void **state) {
        static const struct {
                const char *in, *out;
        } good[] = {
                { "busybox", "busybox:latest" },
                { "busybox:1.35", "busybox:1.35" },
                { "library/alpine:3", "library/alpine:3" },
                { "a", "a:latest" },
                { "0:_", "0:_" },
                { "a.b_c-d/e:X.y-z_", "a.b_c-d/e:X.y-z_" },
                { "sha256x:1", "sha256x:1" },
                { "sha:256", "sha:256" },
                { A32 A32 A32 A32 ":" A32 A32, A32 A32 A32 A32 ":" A32 A32 },
        };
        char buf[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(reference_normalize(good[i].in, buf), 0);
                assert_string_equal(buf, good[i].out);
        }
}

static void a_digest_is_taken_as_it_is(void **state) {
        char buf[REFERENCE_MAX + 1];

        assert_int_equal(reference_normalize("sha256:" HEX64, buf), 1);
        assert_string_equal(buf, "sha256:" HEX64);
        assert_true(digest_is_valid("sha256:" HEX64));
        assert_false(digest_is_valid(HEX64));
        assert_false(digest_is_valid("sha256:" HEX64 "0"));
        assert_false(digest_is_valid("sha512:" HEX64));
}

static void what_is_neither_is_refused(void **state) {
        static const char *const bad[] = {
                "", ":", ":latest", "a:", "a::b", "a:b:c", "A", "busyBox", "-a", "a-", "a--b", "a/-b", "/a", "a/", "a//b",
                ".", "..", "../a", "a/../b", "a b", "a\n", "\xc3\xa9", "a:-b", "a:.b", "a:b/c", "a@b", "a+b",
                "a:" A32 A32 "a", A32 A32 A32 A32 "a", "sha256", "sha256:abc", "sha256:latest",
                "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcde",
                "sha256:" HEX64 "0",
        };
        char buf[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (reference_normalize(bad[i], buf) != -EINVAL)
                        fail_msg("\"%s\" was taken", bad[i]);
}

static void filenames_go_there_and_back(void **state) {
        static const char *const names[] = { "busybox:latest", "library/alpine:3", "a.b_c-d/e/f:X.y-z_" };
        char file[REFERENCE_MAX + 1], back[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                reference_to_filename(names[i], file);
                assert_null(strchr(file, '/'));
                assert_int_equal(reference_from_filename(file, back), 0);
                assert_string_equal(back, names[i]);
        }
        assert_string_equal((reference_to_filename("a/b:c", file), file), "a+b@c");
}

static void other_filenames_are_not_references(void **state) {
        static const char *const bad[] = { "", ".", "..", "busybox", "a:b", "a+@b", ".#tmp-0", "a@b@c", "A@b", "a@",
                                           "sha256@" HEX64, A32 A32 A32 A32 A32 A32 A32 "@a" };
        char buf[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(reference_from_filename(bad[i], buf), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_normalized_with_their_tag),
                cmocka_unit_test(a_digest_is_taken_as_it_is),
                cmocka_unit_test(what_is_neither_is_refused),
                cmocka_unit_test(filenames_go_there_and_back),
                cmocka_unit_test(other_filenames_are_not_references),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
