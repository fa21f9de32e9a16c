/* SPDX-License-Identifier: Apache-2.0 */

/* What goes from guests into answers: text of any bytes, the last lines, the events that are wanted. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/event-filter.h"
#include "rpcd/text.h"

static void replaced(const char *in, size_t n, const char *expected) {
        _cleanup_free_ char *out = NULL;
        size_t size;

        out = text_replace_invalid(in, n, &size);
        assert_non_null(out);
        assert_int_equal(size, strlen(expected));
        assert_memory_equal(out, expected, size);
        assert_true(utf8_is_valid_n(out, size));
}

static void what_is_not_utf8_is_replaced_byte_by_byte(void **state) {
        replaced("", 0, "");
        replaced("grün\n", 6, "grün\n");
        replaced("a\xff\xfe" "b", 4, "a\xef\xbf\xbd\xef\xbf\xbd" "b");
        replaced("\xc0\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd");         /* overlong */
        replaced("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
        replaced("x\xe2\x82", 3, "x\xef\xbf\xbd\xef\xbf\xbd");        /* cut off */
        replaced("\xf0\x9f\x90\xa7", 4, "\xf0\x9f\x90\xa7");
}

static size_t tail(const char *s, uint64_t lines) {
        return text_tail(s, strlen(s), lines);
}

static void the_last_lines_begin_behind_a_line_feed(void **state) {
        assert_int_equal(tail("", 3), 0);
        assert_int_equal(tail("one\ntwo\nthree\n", 1), 8);
        assert_int_equal(tail("one\ntwo\nthree", 1), 8);
        assert_int_equal(tail("one\ntwo\nthree\n", 2), 4);
        assert_int_equal(tail("one\ntwo\n", 2), 0);
        assert_int_equal(tail("one\ntwo\n", 100), 0);
        assert_int_equal(tail("\n\n\n", 2), 1);
        assert_int_equal(tail("one\n", 0), 4);
}

static void a_sequence_that_was_cut_off_is_left_out(void **state) {
        assert_int_equal(text_complete("abc", 3), 3);
        assert_int_equal(text_complete("ab\xc3", 3), 2);
        assert_int_equal(text_complete("ab\xc3\xbc", 4), 4);
        assert_int_equal(text_complete("a\xf0\x9f\x90", 4), 1);
        assert_int_equal(text_complete("a\xf0\x9f\x90\xa7", 5), 5);
        assert_int_equal(text_complete("\x80\x80\x80\x80", 4), 4); /* none begins there: that is something else */
        assert_int_equal(text_complete("", 0), 0);
        assert_int_equal(text_broken_head("\x90\xa7xy", 4), 2);
        assert_int_equal(text_broken_head("xy", 2), 0);
        assert_int_equal(text_broken_head("\x80\x80\x80\x80\x80", 5), 3);
}

static void base64_has_the_vectors_of_its_rfc(void **state) {
        static const char *const table[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
                                                { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" } };
        _cleanup_free_ char *high = base64_encode("\xff\xfe\xfd\xfc", 4);

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *s = base64_encode(table[i][0], strlen(table[i][0]));

                assert_string_equal(s, table[i][1]);
        }
        assert_string_equal(high, "//79/A==");
}

static void bytes_are_a_string_where_they_can_be(void **state) {
        json_t *j = json_object();

        assert_int_equal(json_set_bytes(j, "a", "x\0y", 3), 0);
        assert_int_equal(json_set_bytes(j, "b", "\xff", 1), 0);
        assert_int_equal(json_set_bytes(j, "c", NULL, 0), 0);
        assert_int_equal(json_string_length(json_object_get(j, "a")), 3);
        assert_null(json_object_get(j, "b"));
        assert_string_equal(json_string_value(json_object_get(j, "b_base64")), "/w==");
        assert_string_equal(json_string_value(json_object_get(j, "c")), "");
        json_decref(j);
}

static void add(EventFilter *f, uint64_t sequence, const char *vm, const char *id) {
        assert_int_equal(event_filter_add(f, &(Transition){ sequence, UINT64_C(1795000000000000) + sequence, vm, "stopped", "starting",
                                                            "because" }, id), 0);
}

static void sequences_are(json_t *events, const char *expected) {
        char text[256] = "";
        size_t i, n = 0;
        json_t *e;

        json_array_foreach(events, i, e)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%i ", (int) json_integer_value(json_object_get(e, "sequence")));
        assert_string_equal(text, expected);
}

static void without_a_beginning_the_last_events_are_kept(void **state) {
        EventFilter f;
        json_t *events;

        event_filter_init(&f, 3, false, 0);
        for (uint64_t i = 1; i <= 8; i++)
                add(&f, i, "web", "0123456789ab");
        assert_false(event_filter_is_full(&f));
        assert_int_equal(f.next, 8);
        events = event_filter_take(&f);
        sequences_are(events, "6 7 8 ");
        assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "vm_id")), "0123456789ab");
        assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "timestamp")), "2026-11-18T11:06:40Z");
        json_decref(events);
}

static void after_a_beginning_the_first_are_kept_and_next_is_the_last_of_them(void **state) {
        EventFilter f;
        json_t *events;

        event_filter_init(&f, 3, true, 10);
        assert_int_equal(f.next, 10);
        for (uint64_t i = 11; i <= 18; i++)
                add(&f, i, "web", NULL);
        assert_true(event_filter_is_full(&f));
        assert_int_equal(f.next, 13);
        events = event_filter_take(&f);
        sequences_are(events, "11 12 13 ");
        assert_true(json_is_null(json_object_get(json_array_get(events, 0), "vm_id")));
        json_decref(events);
}

static void a_filter_that_is_not_taken_leaks_nothing(void **state) {
        EventFilter f;

        event_filter_init(&f, 2, false, 0);
        for (uint64_t i = 1; i <= 5; i++)
                add(&f, i, "web", NULL);
        event_filter_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_not_utf8_is_replaced_byte_by_byte),
                cmocka_unit_test(the_last_lines_begin_behind_a_line_feed),
                cmocka_unit_test(a_sequence_that_was_cut_off_is_left_out),
                cmocka_unit_test(base64_has_the_vectors_of_its_rfc),
                cmocka_unit_test(bytes_are_a_string_where_they_can_be),
                cmocka_unit_test(without_a_beginning_the_last_events_are_kept),
                cmocka_unit_test(after_a_beginning_the_first_are_kept_and_next_is_the_last_of_them),
                cmocka_unit_test(a_filter_that_is_not_taken_leaks_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
