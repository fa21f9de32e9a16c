/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

static const char *const clean[] = { "", "plain", "größe", "€", "日本", "\xf0\x9f\x9a\x80", "a b~", "\xc2\xa0" };

/* Overlong, surrogate, above U+10FFFF, cut, stray, control characters. */
static const char *const dirty[] = { "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "gr\xc3",
                                     "\xe2\x82", "\x80", "\xff", "a\x1b[2J", "a\nb", "a\tb", "\x7f", "\x01" };

static void clean_text_is_utf8_without_control_characters(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(clean); i++)
                assert_true(utf8_is_clean(clean[i], NULL));
        for (size_t i = 0; i < ELEMENTSOF(dirty); i++)
                if (utf8_is_clean(dirty[i], NULL))
                        fail_msg("number %zu passed", i);
        assert_true(utf8_is_clean("a\nb\tc", "\n\t"));
        assert_false(utf8_is_clean("a\nb\rc", "\n\t"));
}

static void what_was_sanitized_is_clean_and_keeps_what_was_good(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(clean); i++) {
                _cleanup_free_ char *s = strdup(clean[i]);

                assert_string_equal(utf8_sanitize(s), clean[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(dirty); i++) {
                _cleanup_free_ char *s = strdup(dirty[i]);

                assert_true(utf8_is_clean(utf8_sanitize(s), NULL));
                assert_int_equal(strlen(s), strlen(dirty[i]));
        }
        {
                char s[] = "gut\x1b b\xc3\xb6se\xc3";

                assert_string_equal(utf8_sanitize(s), "gut? b\xc3\xb6se?");
        }
}

static void valid_text_may_hold_a_nul_when_its_length_is_given(void **state) {
        assert_true(utf8_is_valid_n("a\0b", 3));
        assert_true(utf8_is_valid_n("", 0));
        assert_false(utf8_is_valid_n("\xe2\x82\xac", 2));
        assert_true(utf8_is_valid_n("\xe2\x82\xac", 3));
}

static void white_space_goes_at_both_ends_only(void **state) {
        char a[] = "  a b \t\n", b[] = "", c[] = " \t ", d[] = "x";

        assert_string_equal(strstrip(a), "a b");
        assert_string_equal(strstrip(b), "");
        assert_string_equal(strstrip(c), "");
        assert_string_equal(strstrip(d), "x");
}

static void a_prefix_gives_the_rest(void **state) {
        const char *s = "exec-1-web";

        assert_ptr_equal(startswith(s, "exec-"), s + 5);
        assert_ptr_equal(startswith(s, ""), s);
        assert_null(startswith(s, "Exec-"));
        assert_null(startswith("ex", "exec-"));
}

static void free_and_strdup_takes_null_and_itself(void **state) {
        char *p = NULL;

        assert_int_equal(free_and_strdup(&p, "one"), 0);
        assert_int_equal(free_and_strdup(&p, p), 0);
        assert_string_equal(p, "one");
        assert_int_equal(free_and_strdup(&p, NULL), 0);
        assert_null(p);
}

static void null_and_empty_are_told_apart_where_it_matters(void **state) {
        assert_true(streq_ptr(NULL, NULL));
        assert_false(streq_ptr(NULL, ""));
        assert_true(isempty(NULL) && isempty(""));
        assert_string_equal(strempty(NULL), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(clean_text_is_utf8_without_control_characters),
                cmocka_unit_test(what_was_sanitized_is_clean_and_keeps_what_was_good),
                cmocka_unit_test(valid_text_may_hold_a_nul_when_its_length_is_given),
                cmocka_unit_test(white_space_goes_at_both_ends_only),
                cmocka_unit_test(a_prefix_gives_the_rest),
                cmocka_unit_test(free_and_strdup_takes_null_and_itself),
                cmocka_unit_test(null_and_empty_are_told_apart_where_it_matters),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
