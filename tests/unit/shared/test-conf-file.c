/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "shared/conf-file.h"

/* Everything that was said, one line each. */
typedef struct Heard {
        char text[4096];
} Heard;

static void hear(Heard *h, const char *a, const char *b, const char *c) {
        size_t n = strlen(h->text);

        snprintf(h->text + n, sizeof(h->text) - n, "%s%s%s%s%s\n", a, b ? "|" : "", strempty(b), c ? "|" : "", strempty(c));
}

static int assign(const char *section, const char *key, const char *value, void *userdata, char **ret_why) {
        if (streq(key, "Unknown"))
                return -ENOENT;
        if (streq(value, "bad")) {
                *ret_why = strdup("Must be good.");
                return -EINVAL;
        }
        hear(userdata, section, key, value);
        return 0;
}

static void problem(const char *sentence, void *userdata) {
        hear(userdata, sentence, NULL, NULL);
}

static void check(const char *text, int problems, const char *expected) {
        _cleanup_free_ char *copy = strdup(text);
        Heard h = {};

        assert_int_equal(conf_parse_buffer("F", copy, assign, problem, &h), problems);
        assert_string_equal(h.text, expected);
}

static void keys_belong_to_sections_and_white_space_to_nobody(void **state) {
        check("[A]\nK=v\n  K2 =  v 2 \t\n\n[B]\nK=\n", 0, "A|K|v\nA|K2|v 2\nB|K|\n");
        check("[A]\nK=a=b\nL=#no comment", 0, "A|K|a=b\nA|L|#no comment\n");
        check("", 0, "");
}

static void comments_are_whole_lines(void **state) {
        check("# [X]\n; Y=1\n[A]\n  # Z=1\nK=v\n", 0, "A|K|v\n");
}

static void a_backslash_goes_on_in_the_next_line(void **state) {
        check("[A]\nK=a \\\nb\\\nc\nL=x\n", 0, "A|K|a   b  c\nA|L|x\n");
        check("[A]\nK=a\\", 0, "A|K|a\\\n");
}

static void a_comment_that_ends_in_a_backslash_swallows_nothing(void **state) {
        check("[A]\n# C:\\\nK=v\n", 0, "A|K|v\n");
}

static void every_problem_has_its_file_line_and_key(void **state) {
        check("K=v\n[A]\nK=bad\nUnknown=1\nnonsense\n[B\n[C] x\nM=1\n", 6,
              "F:1: Assignment before the first [Section], ignored.\n"
              "F:3: K=bad: Must be good. The value is ignored.\n"
              "F:4: Unknown=: There is no such key in section [A], ignored.\n"
              "F:5: Neither 'Key=value' nor '[Section]', ignored.\n"
              "F:6: A section must be '[Name]', ignored.\n"
              "F:7: A section must be '[Name]', ignored.\n"
              "A|M|1\n");
}

static void lines_are_counted_through_continuations(void **state) {
        check("[A]\nK=1 \\\n\\\n2\nL=bad\n", 1, "A|K|1     2\nF:5: L=bad: Must be good. The value is ignored.\n");
}

static void write_file(const char *dir, const char *name, const char *text) {
        _cleanup_free_ char *path = strprintf("%s/%s", dir, name);
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static char *make_dir(const char *parent, const char *name) {
        char *path = strprintf("%s/%s", parent, name);

        assert_int_equal(mkdir(path, 0700), 0);
        return path;
}

static void drop_ins_come_by_name_and_earlier_roots_hide_later_ones(void **state) {
        char top[] = "/tmp/hero-conf-XXXXXX", command[64];
        _cleanup_free_ char *etc = NULL, *usr = NULL, *etc_d = NULL, *usr_d = NULL;
        const char *roots[3] = {};
        Heard h = {};

        assert_non_null(mkdtemp(top));
        etc = make_dir(top, "etc");
        usr = make_dir(top, "usr");
        etc_d = make_dir(etc, "c.conf.d");
        usr_d = make_dir(usr, "c.conf.d");
        roots[0] = etc;
        roots[1] = usr;
        write_file(usr, "c.conf", "[A]\nK=usr\n");
        write_file(usr_d, "10-a.conf", "[A]\nK=usr10\n");
        write_file(usr_d, "30-c.conf", "[A]\nK=usr30\n");
        write_file(etc_d, "10-a.conf", "[A]\nK=etc10\n");
        write_file(etc_d, "20-b.conf", "[A]\nK=etc20\n");
        write_file(etc_d, "README", "[A]\nK=no\n");
        write_file(etc_d, ".hidden.conf", "[A]\nK=no\n");
        assert_int_equal(conf_parse(roots, "c.conf", assign, problem, &h), 0);
        assert_string_equal(h.text, "A|K|usr\nA|K|etc10\nA|K|etc20\nA|K|usr30\n");

        /* The main file of an earlier root hides the later ones. */
        h = (Heard) {};
        write_file(etc, "c.conf", "[A]\nK=etc\n");
        assert_int_equal(conf_parse(roots, "c.conf", assign, problem, &h), 0);
        assert_string_equal(h.text, "A|K|etc\nA|K|etc10\nA|K|etc20\nA|K|usr30\n");

        /* What cannot be read is said, and the rest holds. */
        h = (Heard) {};
        free(make_dir(etc_d, "00-dir.conf"));
        assert_int_equal(conf_parse(roots, "c.conf", assign, problem, &h), -EISDIR);
        assert_non_null(strstr(h.text, "00-dir.conf: Cannot be read: Is a directory.\n"));
        assert_non_null(strstr(h.text, "A|K|usr30\n"));

        snprintf(command, sizeof(command), "rm -r %s", top);
        assert_int_equal(system(command), 0);
}

static void no_file_at_all_is_no_problem(void **state) {
        const char *const roots[] = { "/nonexistent/a", "/nonexistent/b", NULL };
        Heard h = {};

        assert_int_equal(conf_parse(roots, "c.conf", assign, problem, &h), 0);
        assert_string_equal(h.text, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_belong_to_sections_and_white_space_to_nobody),
                cmocka_unit_test(comments_are_whole_lines),
                cmocka_unit_test(a_backslash_goes_on_in_the_next_line),
                cmocka_unit_test(a_comment_that_ends_in_a_backslash_swallows_nothing),
                cmocka_unit_test(every_problem_has_its_file_line_and_key),
                cmocka_unit_test(lines_are_counted_through_continuations),
                cmocka_unit_test(drop_ins_come_by_name_and_earlier_roots_hide_later_ones),
                cmocka_unit_test(no_file_at_all_is_no_problem),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
