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
                { "b_c-d/a.e:X.y-z_", "b_c-d/a.e:X.y-z_" },
                { "sha256x:1", "sha256x:1" },
                { "sha:256", "sha:256" },
                { A32 A32 A32 ":" A32 A32 A32 A32, A32 A32 A32 ":" A32 A32 A32 A32 },
                { "a--b/c__d", "a--b/c__d:latest" },
                { "localhost/x", "localhost/x:latest" },
                { "127.0.0.1:5000/library/x:1", "127.0.0.1:5000/library/x:1" },
                { "Reg-1.Example.COM/x", "Reg-1.Example.COM/x:latest" },
                { "a@sha256:" HEX64, "a@sha256:" HEX64 },
                { "r:1/a:T@sha256:" HEX64, "r:1/a:T@sha256:" HEX64 },
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
                "", ":", ":latest", "a:", "a::b", "a:b:c", "A", "busyBox", "-a", "a-", "a..b", "a___b", "a_.b", "a/-b", "a/B", "/a", "a/", "a//b",
                ".", "..", "../a", "a/../b", "a b", "a\n", "\xc3\xa9", "a:-b", "a:.b", "a@b", "a+b", "a=b", "a@", "a:b@",
                "a:" A32 A32 A32 A32 "a", A32 A32 A32 A32 A32 A32 A32 A32, A32 A32 A32 A32 A32 A32 A32 "aaaaaaaaaaaaaaaaaaaaa",
                "b_c.d/e", "-a.b/c", "a-.b/c", "a.-b/c", "a..b/c", "a.b:/c", "a.b:123456/c", "a.b:1x/c", ".a/b", "a.b/", "a.b/C", "localhost/",
                "a@sha256:" HEX64 "0", "a@sha512:" HEX64, "@sha256:" HEX64, "sha256@sha256:" HEX64,
                "sha256", "sha256:abc", "sha256:latest",
                "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcde",
                "sha256:" HEX64 "0",
        };
        char buf[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (reference_normalize(bad[i], buf) != -EINVAL)
                        fail_msg("\"%s\" was taken", bad[i]);
}

static void filenames_go_there_and_back(void **state) {
        static const char *const names[] = { "busybox:latest", "library/alpine:3", "b_c-d/a.e/f:X.y-z_",
                                             "127.0.0.1:5000/a/b:c", "a@sha256:" HEX64, "a.b/c:d@sha256:" HEX64 };
        char file[REFERENCE_MAX + 1], back[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                reference_to_filename(names[i], file);
                assert_null(strchr(file, '/'));
                assert_int_equal(reference_from_filename(file, back), 0);
                assert_string_equal(back, names[i]);
        }
        assert_string_equal((reference_to_filename("a/b:c", file), file), "a+b=c");
}

static void other_filenames_are_not_references(void **state) {
        static const char *const bad[] = { "", ".", "..", "busybox", "a:b", "a+=b", ".#tmp-0", "a=b=c", "A=b", "a@", "a@b",
                                           "sha256=" HEX64, "a/b=c", A32 A32 A32 A32 A32 A32 A32 A32 "=a" };
        char buf[REFERENCE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(reference_from_filename(bad[i], buf), -EINVAL);
}

static void a_location_is_what_skopeo_is_given(void **state) {
        static const struct {
                const char *reference, *location, *with_digest;
        } cases[] = {
                { "alpine:3", "docker.io/library/alpine:3", "docker.io/library/alpine@sha256:" HEX64 },
                { "user/app:x", "docker.io/user/app:x", "docker.io/user/app@sha256:" HEX64 },
                { "localhost/app:x", "localhost/app:x", "localhost/app@sha256:" HEX64 },
                { "127.0.0.1:5000/app:x", "127.0.0.1:5000/app:x", "127.0.0.1:5000/app@sha256:" HEX64 },
                { "quay.io/a/b/c:latest", "quay.io/a/b/c:latest", "quay.io/a/b/c@sha256:" HEX64 },
                { "a:t@sha256:" HEX64, "docker.io/library/a@sha256:" HEX64, "docker.io/library/a@sha256:" HEX64 },
                { "a@sha256:" HEX64, "docker.io/library/a@sha256:" HEX64, "docker.io/library/a@sha256:" HEX64 },
        };
        char buf[REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                reference_location(cases[i].reference, NULL, buf);
                assert_string_equal(buf, cases[i].location);
                reference_location(cases[i].reference, "sha256:" HEX64, buf);
                assert_string_equal(buf, cases[i].with_digest);
        }
}

static void a_reference_has_a_tag_or_a_digest_or_both(void **state) {
        size_t n = 0;

        assert_null(reference_digest("a.b:5/c:d"));
        assert_string_equal(reference_tag("a.b:5/c:d", &n), "d");
        assert_int_equal(n, 1);
        assert_null(reference_tag("a.b:5/c@sha256:" HEX64, &n));
        assert_string_equal(reference_digest("a:tag@sha256:" HEX64), "sha256:" HEX64);
        assert_memory_equal(reference_tag("a:tag@sha256:" HEX64, &n), "tag", 3);
        assert_int_equal(n, 3);
}

static void the_beginning_of_a_digest_is_six_digits_or_more(void **state) {
        assert_string_equal(digest_abbreviated("0123ab"), "0123ab");
        assert_string_equal(digest_abbreviated("sha256:0123ab"), "0123ab");
        assert_string_equal(digest_abbreviated("sha256:" HEX64), HEX64);
        assert_null(digest_abbreviated("0123a"));
        assert_null(digest_abbreviated("0123ax"));
        assert_null(digest_abbreviated("0123AB"));
        assert_null(digest_abbreviated(HEX64 "0"));
        assert_null(digest_abbreviated(""));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_normalized_with_their_tag),
                cmocka_unit_test(a_digest_is_taken_as_it_is),
                cmocka_unit_test(what_is_neither_is_refused),
                cmocka_unit_test(a_location_is_what_skopeo_is_given),
                cmocka_unit_test(a_reference_has_a_tag_or_a_digest_or_both),
                cmocka_unit_test(the_beginning_of_a_digest_is_six_digits_or_more),
                cmocka_unit_test(filenames_go_there_and_back),
                cmocka_unit_test(other_filenames_are_not_references),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
