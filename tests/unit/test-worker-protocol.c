/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/string-util.h"
#include "imaged/worker-protocol.h"

static WorkerLine there_and_back(const WorkerLine *l) {
        static char buf[WORKER_LINE_MAX];
        WorkerLine back;
        size_t n;

        n = worker_line_format(l, buf);
        assert_int_equal(n, strlen(buf));
        assert_int_equal(buf[n - 1], '\n');
        buf[n - 1] = 0;
        assert_int_equal(worker_line_parse(buf, &back), 0);
        return back;
}

static void lines_go_there_and_back(void **state) {
        WorkerLine l;

        l = there_and_back(&(WorkerLine) { .type = WORKER_PROGRESS, .bytes = INT64_MAX, .entries = UINT32_MAX });
        assert_int_equal(l.type, WORKER_PROGRESS);
        assert_int_equal(l.bytes, INT64_MAX);
        assert_int_equal(l.entries, UINT32_MAX);
        l = there_and_back(&(WorkerLine) { .type = WORKER_DONE, .entries = 3, .bytes = 4, .dropped = 5 });
        assert_int_equal(l.type, WORKER_DONE);
        assert_int_equal(l.entries, 3);
        assert_int_equal(l.bytes, 4);
        assert_int_equal(l.dropped, 5);
        l = there_and_back(&(WorkerLine) { .type = WORKER_LAYER, .entries = 127 });
        assert_int_equal(l.type, WORKER_LAYER);
        assert_int_equal(l.entries, 127);
        l = there_and_back(&(WorkerLine) { .type = WORKER_ENTRY, .offset = 512, .bytes = 9, .name = "blobs/sha256/0a" });
        assert_int_equal(l.type, WORKER_ENTRY);
        assert_int_equal(l.offset, 512);
        assert_int_equal(l.bytes, 9);
        assert_string_equal(l.name, "blobs/sha256/0a");
        l = there_and_back(&(WorkerLine) { .type = WORKER_ERROR, .error = EBADMSG, .sentence = "No \"café\" here." });
        assert_int_equal(l.type, WORKER_ERROR);
        assert_int_equal(l.error, EBADMSG);
        assert_string_equal(l.sentence, "No \"café\" here.");
}

static void a_sentence_that_is_too_long_is_cut(void **state) {
        char sentence[3000];

        memset(sentence, 'x', sizeof(sentence) - 1);
        sentence[sizeof(sentence) - 1] = 0;
        assert_int_equal(there_and_back(&(WorkerLine) { .type = WORKER_ERROR, .error = 5, .sentence = sentence }).sentence[0], 'x');
}

static void anything_else_is_refused(void **state) {
        static const char *const bad[] = {
                "", " ", "progress", "progress 1", "progress 1 2 3", "progress 1 2 ", "progress -1 2", "progress 1 4294967296",
                "progress 9223372036854775808 1", "progress a b", "done", "done 1 2", "done 1 2 3 4", "done  1 2", "done 1 x 2",
                "error", "error 5", "error 5 ", "error 0 nothing", "error 4096 much", "error -5 x", "error x y",
                "error 5 two\nlines", "error 5 \xff", "error 5 bell\a", "hello", "Done 1 2 3", "done\t1 2 3",
                "layer", "layer 256", "layer -1", "layer 1 2", "entry", "entry 1", "entry 1 2", "entry 1 2 ", "entry 1 2 /a",
                "entry 1 2 ../a", "entry 1 2 a/..", "entry 1 2 a//b", "entry 1 2 a/", "entry 1 2 a b", "entry 1 2 \"", "entry x 2 a",
                "entry 1 2 ./a", "entry 1 2 a/./b",
        };
        char longest[WORKER_LINE_MAX + 1];
        WorkerLine l;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (worker_line_parse(bad[i], &l) != -EBADMSG)
                        fail_msg("\"%s\" was taken", bad[i]);
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = 0;
        memcpy(longest, "error 5 ", 8);
        assert_int_equal(worker_line_parse(longest, &l), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines_go_there_and_back),
                cmocka_unit_test(a_sentence_that_is_too_long_is_cut),
                cmocka_unit_test(anything_else_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
