/* SPDX-License-Identifier: Apache-2.0 */

/* What a stream of entries means when put together. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/image-tree.h"

static int setup(void **state) {
        return tree_new(1000, (Tree **) state);
}

static int teardown(void **state) {
        tree_free(*state);
        return 0;
}

static int add_as(Tree *t, const char *path, mode_t mode, uid_t uid, TreeInode **ret, char **ret_why) {
        const TreeInode attributes = { .mode = mode, .uid = uid, .mtime = 77, .xattrs = TREE_NO_XATTRS };

        return tree_add(t, path, &attributes, ret, ret_why);
}

static TreeInode *add(Tree *t, const char *path, mode_t mode, uid_t uid) {
        _cleanup_free_ char *why = NULL;
        TreeInode *i = NULL;

        if (add_as(t, path, mode, uid, &i, &why) < 0)
                fail_msg("%s: %s", path, strna(why));
        return i;
}

static void refused(Tree *t, const char *path, mode_t mode, const char *sentence) {
        _cleanup_free_ char *why = NULL;
        uint32_t before = tree_n_entries(t);
        TreeInode *i;

        assert_int_equal(add_as(t, path, mode, 0, &i, &why), -EBADMSG);
        assert_string_equal(why, sentence);
        assert_int_equal(tree_n_entries(t), before);
}

static void missing_parents_appear_and_are_set_later(void **state) {
        Tree *t = *state;

        add(t, "a/b/c", S_IFREG | 0600, 5);
        assert_int_equal(tree_find(t, "a/b")->inode->mode, S_IFDIR | 0755);
        assert_int_equal(tree_find(t, "a/b")->inode->uid, 0);
        assert_int_equal(tree_find(t, "a/b")->inode->mtime, 77);
        add(t, "a/b/", S_IFDIR | 0700, 9);
        assert_int_equal(tree_find(t, "a/b")->inode->mode, S_IFDIR | 0700);
        assert_int_equal(tree_find(t, "a/b")->inode->uid, 9);
        assert_non_null(tree_find(t, "a/b/c"));
        assert_int_equal(tree_n_entries(t), 4);
}

static void dots_and_slashes_are_nothing(void **state) {
        Tree *t = *state;

        add(t, "./", S_IFDIR | 0711, 3);
        assert_int_equal(tree_root(t)->inode->mode, S_IFDIR | 0711);
        add(t, "", S_IFDIR | 0710, 3);
        assert_int_equal(tree_root(t)->inode->mode, S_IFDIR | 0710);
        add(t, ".//x/./y//", S_IFDIR | 0700, 0);
        assert_ptr_equal(tree_find(t, "x/y"), tree_find(t, "./x//y/."));
        assert_non_null(tree_find(t, "x/y"));
        assert_int_equal(tree_n_entries(t), 3);
}

static void the_last_of_a_name_wins(void **state) {
        TreeInode *first, *second;
        Tree *t = *state;

        first = add(t, "f", S_IFREG | 0600, 1);
        second = add(t, "f", S_IFREG | 0644, 2);
        assert_ptr_equal(tree_find(t, "f")->inode, second);
        assert_int_equal(first->n_links, 0);
        assert_int_equal(second->n_links, 1);
        add(t, "f", S_IFDIR | 0755, 0);
        add(t, "f/g", S_IFREG | 0644, 0);
        add(t, "e", S_IFDIR | 0755, 0);
        add(t, "e", S_IFREG | 0755, 0); /* an empty one may go */
        assert_int_equal(tree_n_entries(t), 4);
        refused(t, "f", S_IFREG | 0644, "Entry \"f\" would replace a directory that is not empty.");
}

static void hard_links_share_an_inode(void **state) {
        _cleanup_free_ char *why = NULL;
        TreeInode *i;
        Tree *t = *state;

        i = add(t, "f", S_IFREG | 0600, 1);
        assert_int_equal(tree_link(t, "d/g", "./f", &why), 0);
        assert_int_equal(tree_link(t, "h", "d/g", &why), 0);
        assert_int_equal(tree_link(t, "h", "h", &why), 0);
        assert_int_equal(i->n_links, 3);
        add(t, "f", S_IFREG | 0600, 2);
        assert_int_equal(i->n_links, 2);
        assert_ptr_equal(tree_find(t, "d/g")->inode, i);
}

static void a_hard_link_needs_its_target(void **state) {
        static const struct {
                const char *path, *target, *sentence;
        } bad[] = {
                { "x", "nothing", "Entry \"x\" is a hard link to \"nothing\", which is not there." },
                { "x", "d", "Entry \"x\" is a hard link to \"d\", which is a directory." },
                { "x", "/etc/shadow", "Entry \"x\" is a hard link to \"/etc/shadow\", which is not there." },
                { "x", "../f", "Entry \"../f\" has \"..\" in its name." },
                { "./", "f", "Entry \"./\" has no name." },
                { "f/x", "f", "Entry \"f/x\" goes through what is not a directory." },
        };
        Tree *t = *state;

        add(t, "f", S_IFREG | 0600, 1);
        add(t, "d", S_IFDIR | 0700, 1);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_free_ char *why = NULL;

                assert_int_equal(tree_link(t, bad[i].path, bad[i].target, &why), -EBADMSG);
                assert_string_equal(why, bad[i].sentence);
        }
}

static void names_that_lead_elsewhere_are_refused(void **state) {
        Tree *t = *state;

        add(t, "link", S_IFLNK | 0777, 0);
        add(t, "file", S_IFREG | 0644, 0);
        refused(t, "/etc/passwd", S_IFREG, "Entry \"/etc/passwd\" has an absolute name.");
        refused(t, "..", S_IFDIR, "Entry \"..\" has \"..\" in its name.");
        refused(t, "a/../../b", S_IFREG, "Entry \"a/../../b\" has \"..\" in its name.");
        refused(t, "link/x", S_IFREG, "Entry \"link/x\" goes through a symbolic link.");
        refused(t, "file/x", S_IFREG, "Entry \"file/x\" goes through what is not a directory.");
        refused(t, "./", S_IFREG, "Entry \"./\" has no name.");
        /* Dots are letters elsewhere. */
        add(t, "...", S_IFREG | 0644, 0);
        add(t, "..a/b..", S_IFREG | 0644, 0);
}

static char *repeat(const char *s, size_t n) {
        size_t k = strlen(s);
        char *p = new(char, n * k + 1);

        assert_non_null(p);
        for (size_t i = 0; i < n; i++)
                memcpy(p + i * k, s, k);
        p[n * k] = 0;
        return p;
}

static void names_have_bounds(void **state) {
        _cleanup_free_ char *n255 = repeat("n", 255), *n256 = repeat("n", 256), *deep = repeat("d/", 256),
                            *deeper = repeat("d/", 257), *longest = repeat("123456789/", 409), *too_long = repeat("123456789/", 410);
        _cleanup_free_ char *why = NULL;
        TreeInode *i;
        Tree *t;

        assert_int_equal(tree_new(100000, &t), 0);
        add(t, n255, S_IFREG, 0);
        assert_int_equal(add_as(t, n256, S_IFREG, 0, &i, &why), -EBADMSG);
        assert_non_null(strstr(why, "has a component longer than 255 bytes"));
        free(why);
        add(t, deep, S_IFDIR, 0);
        assert_int_equal(add_as(t, deeper, S_IFDIR, 0, &i, &why), -EBADMSG);
        assert_non_null(strstr(why, "is more than 256 directories deep"));
        free(why);
        assert_int_equal(add_as(t, longest, S_IFDIR, 0, &i, &why), -EBADMSG); /* too deep, not too long */
        assert_non_null(strstr(why, "directories deep"));
        free(why);
        assert_int_equal(add_as(t, too_long, S_IFDIR, 0, &i, &why), -EBADMSG);
        assert_non_null(strstr(why, "longer than 4095 bytes"));
        tree_free(t);
}

static void entries_are_counted_with_those_implied(void **state) {
        _cleanup_free_ char *why = NULL;
        TreeInode *i;
        Tree *t;

        assert_int_equal(tree_new(4, &t), 0); /* with the root */
        add(t, "a/b", S_IFREG, 0);
        assert_int_equal(add_as(t, "c/d", S_IFREG, 0, &i, &why), -EDQUOT);
        assert_string_equal(why, "The archive holds more than 4 entries.");
        tree_free(t);
}

static void names_are_quoted_for_people(void **state) {
        static const struct {
                const char *in, *out;
        } names[] = {
                { "plain", "\"plain\"" },          { "a\nb", "\"a\\012b\"" },       { "\xff", "\"\\377\"" },
                { "q\"\\", "\"q\\042\\134\"" },    { "\xc3\xa9", "\"\xc3\xa9\"" },  { "\x7f", "\"\\177\"" },
                { "\xc2\x85", "\"\\302\\205\"" },  { "\xc3", "\"\\303\"" },         { "", "\"\"" },
        };
        _cleanup_free_ char *very_long = repeat("\n", 5000), *quoted = NULL;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *q = name_quote(names[i].in);

                assert_string_equal(q, names[i].out);
        }
        quoted = name_quote(very_long);
        assert_true(strlen(quoted) < 220);
        assert_true(utf8_is_clean(quoted, NULL));
}

static void device_numbers_are_encoded_as_the_kernel_does(void **state) {
        uint32_t d;

        assert_int_equal(tree_device(1, 3, &d), 0);
        assert_int_equal(d, 0x103);
        assert_int_equal(tree_device(0xabc, 0xfedcb, &d), 0);
        assert_int_equal(d, 0xfedabccb); /* new_encode_dev() */
        assert_int_equal(tree_device(4096, 0, &d), -ERANGE);
        assert_int_equal(tree_device(0, 1 << 20, &d), -ERANGE);
        assert_int_equal(tree_device(UINT64_MAX, UINT64_MAX, &d), -ERANGE);
}

#define tree_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                tree_test(missing_parents_appear_and_are_set_later),
                tree_test(dots_and_slashes_are_nothing),
                tree_test(the_last_of_a_name_wins),
                tree_test(hard_links_share_an_inode),
                tree_test(a_hard_link_needs_its_target),
                tree_test(names_that_lead_elsewhere_are_refused),
                cmocka_unit_test(names_have_bounds),
                cmocka_unit_test(entries_are_counted_with_those_implied),
                cmocka_unit_test(names_are_quoted_for_people),
                cmocka_unit_test(device_numbers_are_encoded_as_the_kernel_does),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
