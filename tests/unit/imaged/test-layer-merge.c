/* SPDX-License-Identifier: Apache-2.0 */

/* Layers put on top of each other: what is in the image, and what is refused. */

#include <archive.h>
#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/layer-merge.h"
#include "imaged/sha256.h"
#include "unit/imaged/tar-maker.h"

#define LAYERS 8u

typedef struct Image {
        Tar layers[LAYERS];
        size_t n;
        Tree *tree;
        SquashfsWriter *writer;
        Hasher *hasher;
        int output;
        ImportLimits limits;
        ImportResult result;
        char *why;
} Image;

static int setup(void **state) {
        static Image i;

        i = (Image) { .limits = { 1000, 1 << 30 }, .output = memfd_create("squashfs", MFD_CLOEXEC) };
        assert_true(i.output >= 0);
        assert_int_equal(hasher_new(&i.hasher), 0);
        *state = &i;
        return 0;
}

static int teardown(void **state) {
        Image *i = *state;

        squashfs_writer_free(i->writer);
        hasher_free(i->hasher);
        tree_free(i->tree);
        for (size_t k = 0; k < i->n; k++)
                safe_close(i->layers[k].fd);
        safe_close(i->output);
        free(i->why);
        return 0;
}

static Tar *next(Image *i) {
        assert_true(i->n < LAYERS);
        i->layers[i->n] = tar_new();
        return &i->layers[i->n++];
}

static void digest_of(int fd, char ret[static 72]) {
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        char buf[4096], hex[SHA256_HEX_LENGTH + 1];
        ssize_t n;

        assert_int_equal(sha256_new(&s), 0);
        for (off_t at = 0; (n = pread(fd, buf, sizeof(buf), at)) > 0; at += n)
                sha256_write(s, buf, (size_t) n);
        sha256_read(s, hex);
        (void) snprintf(ret, 72, "sha256:%s", hex);
}

static Layer layer_of(const Tar *t) {
        struct stat st;
        Layer l = { .fd = t->fd };

        assert_int_equal(fstat(t->fd, &st), 0);
        l.size = (uint64_t) st.st_size;
        digest_of(t->fd, l.digest);
        return l;
}

static int merge_layers(Image *i, const Layer *layers) {
        int r;

        assert_int_equal(tree_new(i->limits.max_entries, &i->tree), 0);
        assert_int_equal(squashfs_writer_new(i->output, 1, &i->writer), 0);
        r = layer_merge(layers, i->n, i->hasher, &i->limits, i->tree, i->writer, NULL, NULL, NULL, &i->result, &i->why);
        if (r >= 0)
                assert_int_equal(squashfs_writer_finish(i->writer, i->tree), 0);
        return r;
}

static int merge(Image *i) {
        Layer layers[LAYERS];

        for (size_t k = 0; k < i->n; k++) {
                put_end(&i->layers[k]);
                layers[k] = layer_of(&i->layers[k]);
        }
        return merge_layers(i, layers);
}

static void merged(Image *i) {
        int r = merge(i);

        if (r < 0)
                fail_msg("%d: %s", r, strna(i->why));
        /* The count of names is that of the names. */
        assert_int_equal(i->result.n_entries, tree_n_entries(i->tree));
}

static void refused(Image *i, int error, const char *sentence) {
        int r = merge(i);

        if (r != error || !streq_ptr(i->why, sentence))
                fail_msg("%d \"%s\" instead of \"%s\"", r, strna(i->why), sentence);
        assert_true(utf8_is_clean(i->why, NULL));
}

static const TreeInode *at(Image *i, const char *path) {
        TreeNode *n = tree_find(i->tree, path);

        if (!n)
                fail_msg("%s is not there", path);
        return n->inode;
}

static void gone(Image *i, const char *path) {
        if (tree_find(i->tree, path))
                fail_msg("%s is there", path);
}

static void put_directory(Tar *t, const char *name) {
        put_entry(t, name, '5', NULL, NULL, 0);
}

static void put_link(Tar *t, const char *name, const char *target) {
        put_entry(t, name, '1', target, NULL, 0);
}

static void put_symlink(Tar *t, const char *name, const char *target) {
        put_entry(t, name, '2', target, NULL, 0);
}

static void put_owned(Tar *t, const char *name, char type, unsigned uid) {
        Header h = header(name, type, 0);

        (void) snprintf(h.uid, sizeof(h.uid), "%07o", uid);
        put_header(t, &h);
}

static void upper_layers_win(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_owned(t, "same", '0', 1);
        put_owned(t, "d", '5', 1);
        put_file(t, "d/below", "x");
        put_file(t, "file-then-directory", "x");
        put_file(t, "directory-then-file/a/b", "x");
        t = next(i);
        put_owned(t, "same", '0', 2);
        put_owned(t, "d", '5', 2);
        put_directory(t, "file-then-directory");
        put_file(t, "file-then-directory/a", "x");
        put_file(t, "directory-then-file", "x");
        merged(i);
        assert_int_equal(at(i, "same")->uid, 2);
        assert_int_equal(at(i, "d")->uid, 2);
        assert_true(S_ISREG(at(i, "d/below")->mode));
        assert_true(S_ISDIR(at(i, "file-then-directory")->mode));
        assert_true(S_ISREG(at(i, "directory-then-file")->mode));
        gone(i, "directory-then-file/a/b");
}

static void whiteouts_take_away_what_is_below(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_file(t, "a", "x");
        put_file(t, "d/a", "x");
        put_file(t, "d/b", "x");
        put_file(t, "e/f/g", "x");
        put_file(t, "again", "lower");
        t = next(i);
        put_file(t, ".wh.a", "");
        put_file(t, "./d/.wh.a", "");
        put_file(t, ".wh.e", "");
        put_file(t, ".wh.nothing", "");
        put_file(t, "no/such/.wh.directory", "");
        put_file(t, "d/b/.wh.not-a-directory", "");
        put_file(t, ".wh.again", "");
        t = next(i);
        put_owned(t, "again", '0', 7);
        merged(i);
        gone(i, "a");
        gone(i, "d/a");
        gone(i, "e");
        gone(i, "e/f/g");
        gone(i, "no");
        assert_true(S_ISREG(at(i, "d/b")->mode));
        assert_int_equal(at(i, "again")->uid, 7);
        assert_int_equal(tree_n_entries(i->tree), 4);
        assert_int_equal(tree_n_inodes(i->tree), 4);
}

/* Whatever comes first in the layer. */
static void what_a_layer_has_itself_it_does_not_take_away(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_file(t, "before/lower", "x");
        put_file(t, "after/lower", "x");
        put_file(t, "opaque/lower", "x");
        put_file(t, "opaque/both", "x");
        put_file(t, "f", "x");
        put_file(t, "whole/deep/lower", "x");
        t = next(i);
        put_file(t, "before/upper", "x");
        put_file(t, "before/.wh..wh..opq", "");
        put_file(t, "after/.wh..wh..opq", "");
        put_file(t, "after/upper", "x");
        put_directory(t, "opaque");
        put_owned(t, "opaque/both", '0', 5);
        put_file(t, "opaque/.wh..wh..opq", "");
        put_owned(t, "f", '0', 5);
        put_file(t, ".wh.f", "");
        put_file(t, "whole/deep/upper", "x");
        put_file(t, ".wh.whole", "");
        merged(i);
        gone(i, "before/lower");
        gone(i, "after/lower");
        gone(i, "opaque/lower");
        gone(i, "whole/deep/lower");
        assert_non_null(at(i, "before/upper"));
        assert_non_null(at(i, "after/upper"));
        assert_non_null(at(i, "whole/deep/upper"));
        assert_int_equal(at(i, "opaque/both")->uid, 5);
        assert_int_equal(at(i, "f")->uid, 5);
}

static void hard_links_outlive_their_other_names(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_owned(t, "replaced", '0', 1);
        put_link(t, "link-1", "replaced");
        put_owned(t, "removed", '0', 2);
        put_link(t, "dir/link-2", "./removed");
        t = next(i);
        put_owned(t, "replaced", '0', 9);
        put_file(t, ".wh.removed", "");
        /* To what a lower layer has. */
        put_link(t, "link-3", "dir/link-2");
        put_link(t, "link-4", "/link-1");
        t = next(i);
        put_file(t, ".wh.dir", "");
        merged(i);
        assert_int_equal(at(i, "link-1")->uid, 1);
        assert_int_equal(at(i, "replaced")->uid, 9);
        assert_int_equal(at(i, "link-3")->uid, 2);
        assert_ptr_equal(at(i, "link-1"), at(i, "link-4"));
        assert_int_equal(at(i, "link-1")->n_links, 2);
        assert_int_equal(at(i, "link-3")->n_links, 1);
        gone(i, "removed");
}

static void a_hard_link_to_what_was_removed_is_refused(void **state) {
        Image *i = *state;
        Tar *t;

        put_file(next(i), "f", "x");
        t = next(i);
        put_file(t, ".wh.f", "");
        put_link(t, "g", "f");
        refused(i, -EBADMSG, "Layer 2: Entry \"g\" is a hard link to \"f\", which is not there.");
}

static void a_lower_symbolic_link_leads_within_the_image(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_directory(t, "usr/lib");
        put_symlink(t, "lib", "usr/lib");
        put_symlink(t, "absolute", "/usr/../usr/./lib/");
        put_symlink(t, "out", "../../../../../../etc");
        put_symlink(t, "usr/up", "../new//deep");
        put_file(t, "usr/lib/old", "x");
        t = next(i);
        put_file(t, "lib/a", "x");
        put_file(t, "absolute/b", "x");
        put_file(t, "out/passwd", "x");
        put_file(t, "usr/up/c", "x");
        put_file(t, "lib/.wh.old", "");
        put_link(t, "linked", "lib/a");
        merged(i);
        assert_true(S_ISLNK(at(i, "lib")->mode));
        assert_non_null(at(i, "usr/lib/a"));
        assert_non_null(at(i, "usr/lib/b"));
        assert_non_null(at(i, "etc/passwd"));
        assert_non_null(at(i, "new/deep/c"));
        assert_ptr_equal(at(i, "linked"), at(i, "usr/lib/a"));
        gone(i, "usr/lib/old");
}

static void a_symbolic_link_of_the_same_layer_leads_nowhere(void **state) {
        Image *i = *state;
        Tar *t = next(i);

        put_symlink(t, "etc", "/");
        put_file(t, "etc/x", "x");
        refused(i, -EBADMSG, "Layer 1: Entry \"etc/x\" goes through a symbolic link.");
}

static void symbolic_links_in_circles_are_refused(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_symlink(t, "a", "b");
        put_symlink(t, "b", "a");
        put_file(next(i), "a/x", "x");
        refused(i, -EBADMSG, "Layer 2: Entry \"a/x\" goes through more than 40 symbolic links.");
}

static void a_symbolic_link_to_a_file_is_no_directory(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_symlink(t, "a", "f");
        put_file(t, "f", "x");
        put_file(next(i), "a/x", "x");
        refused(i, -EBADMSG, "Layer 2: Entry \"a/x\" goes through what is not a directory.");
}

static void a_symbolic_link_does_not_make_paths_deeper_than_allowed(void **state) {
        char deep[2 * 200 + 8];
        Image *i = *state;
        Tar *t;

        for (size_t k = 0; k < 200; k++)
                memcpy(deep + 2 * k, "d/", 2);
        deep[2 * 200 - 1] = 0;
        t = next(i);
        put_pax(t, "path", deep, strlen(deep));
        put_directory(t, "short");
        put_pax(t, "linkpath", deep, strlen(deep));
        put_symlink(t, "l", "x");
        t = next(i);
        memcpy(deep, "l", 1);
        put_pax(t, "path", deep, strlen(deep));
        put_directory(t, "short");
        assert_int_equal(merge(i), -EBADMSG);
        assert_non_null(strstr(i->why, "is more than 256 directories deep."));
}

static void bad_whiteouts_are_refused(void **state) {
        static const struct {
                const char *name, *sentence;
        } bad[] = {
                { ".wh.", "Layer 1: Entry \".wh.\" is a whiteout of nothing that could be there." },
                { "a/.wh..", "Layer 1: Entry \"a/.wh..\" is a whiteout of nothing that could be there." },
                { "a/.wh...", "Layer 1: Entry \"a/.wh...\" is a whiteout of nothing that could be there." },
                { ".wh.a/b", "Layer 1: Entry \".wh.a/b\" is below a whiteout." },
                { "../.wh.a", "Layer 1: Entry \"../a\" has \"..\" in its name." },
                { "/.wh.a", "Layer 1: Entry \"/a\" has an absolute name." },
        };

        for (size_t k = 0; k < ELEMENTSOF(bad); k++) {
                Image *i;

                assert_int_equal(setup(state), 0);
                i = *state;
                put_file(next(i), bad[k].name, "");
                refused(i, -EBADMSG, bad[k].sentence);
                teardown(state);
        }
        (void) setup(state);
}

static void what_aufs_left_behind_is_nothing(void **state) {
        Image *i = *state;
        Tar *t = next(i);

        put_directory(t, ".wh..wh.plnk");
        put_file(t, ".wh..wh.plnk/12.34", "x");
        put_file(t, ".wh..wh.aufs", "");
        merged(i);
        assert_int_equal(tree_n_entries(i->tree), 1);
}

static void only_names_that_begin_so_are_whiteouts(void **state) {
        Image *i = *state;
        Tar *t = next(i);

        put_file(t, "x.wh.y", "");
        put_file(t, ".wha", "");
        merged(i);
        assert_non_null(at(i, "x.wh.y"));
        assert_non_null(at(i, ".wha"));
}

static void a_blob_must_be_that_of_its_digest(void **state) {
        Image *i = *state;
        Layer l;

        put_file(next(i), "f", "x");
        put_end(&i->layers[0]);
        l = layer_of(&i->layers[0]);
        assert_int_equal(pwrite(i->layers[0].fd, "y", 1, 512), 1);
        assert_int_equal(merge_layers(i, &l), -EBADMSG);
        assert_string_equal(i->why, "Layer 1: The blob is not the one that its digest names.");
}

/* Also where reading it fails before its end. */
static void a_damaged_blob_is_named_by_its_digest(void **state) {
        Image *i = *state;
        Layer l;

        put_file(next(i), "f", "x");
        put_end(&i->layers[0]);
        i->layers[0] = compressed(&i->layers[0], ARCHIVE_FILTER_GZIP);
        l = layer_of(&i->layers[0]);
        assert_int_equal(pwrite(i->layers[0].fd, "\xff\xff\xff\xff", 4, 12), 4);
        assert_int_equal(merge_layers(i, &l), -EBADMSG);
        assert_string_equal(i->why, "Layer 1: The blob is not the one that its digest names.");
}

static void a_blob_cut_short_is_refused(void **state) {
        Image *i = *state;
        Layer l;

        put_file(next(i), "f", "x");
        put_end(&i->layers[0]);
        l = layer_of(&i->layers[0]);
        assert_int_equal(ftruncate(i->layers[0].fd, 1024), 0);
        assert_int_equal(merge_layers(i, &l), -EBADMSG);
        assert_string_equal(i->why, "Layer 1: The blob is shorter than it is said to be: it was cut short.");
}

static void a_layer_must_be_that_of_its_diff_id(void **state) {
        Image *i = *state;
        Layer l;

        put_file(next(i), "f", "x");
        put_end(&i->layers[0]);
        l = layer_of(&i->layers[0]);
        strcpy(l.diff_id, l.digest);
        l.diff_id[10] ^= 1;
        assert_int_equal(merge_layers(i, &l), -EBADMSG);
        assert_string_equal(i->why, "Layer 1: The layer is not the one that the configuration names (diff_id).");
}

/* Of any compression, somewhere in a larger file, with both checksums. */
static void blobs_are_read_where_they_lie(void **state) {
        static const int filters[] = { ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD };
        char junk[777] = "junk", buf[65536];
        Image *i = *state;
        Layer l[3];

        for (size_t k = 0; k < ELEMENTSOF(filters); k++) {
                char name[] = { (char) ('a' + k), 0 };
                Tar *t = next(i), c, whole = tar_new();
                struct stat st;

                put_file(t, name, "x");
                put_end(t);
                l[k] = (Layer) {};
                digest_of(t->fd, l[k].diff_id);
                c = compressed(t, filters[k]);
                digest_of(c.fd, l[k].digest);
                put(&whole, junk, sizeof(junk));
                assert_int_equal(fstat(c.fd, &st), 0);
                assert_int_equal(pread(c.fd, buf, sizeof(buf), 0), st.st_size);
                put(&whole, buf, (size_t) st.st_size);
                put(&whole, junk, sizeof(junk));
                safe_close(c.fd);
                *t = whole;
                l[k].fd = whole.fd;
                l[k].offset = sizeof(junk);
                l[k].size = (uint64_t) st.st_size;
        }
        if (merge_layers(i, l) < 0)
                fail_msg("%s", strna(i->why));
        for (size_t k = 0; k < ELEMENTSOF(filters); k++)
                assert_non_null(at(i, (char[]) { (char) ('a' + k), 0 }));
}

/* One that only changed the configuration may have one. */
static void a_layer_may_be_empty(void **state) {
        Image *i = *state;
        Layer l[2];

        put_file(next(i), "f", "x");
        put_end(&i->layers[0]);
        l[0] = layer_of(&i->layers[0]);
        (void) next(i);
        l[1] = layer_of(&i->layers[1]);
        strcpy(l[1].diff_id, l[1].digest);
        if (merge_layers(i, l) < 0)
                fail_msg("%s", strna(i->why));
        assert_int_equal(tree_n_entries(i->tree), 2);
}

static void bounds_hold_for_all_layers_together(void **state) {
        Image *i = *state;

        i->limits.max_entries = 4;
        for (int k = 0; k < 3; k++) {
                Tar *t = next(i);

                put_file(t, "a", "x");
                put_file(t, "b", "x");
        }
        refused(i, -EDQUOT, "The archive holds more than 4 entries.");
}

static void contents_of_all_layers_count(void **state) {
        Image *i = *state;

        i->limits.max_bytes = 5;
        for (int k = 0; k < 2; k++)
                put_file(next(i), "a", "xyz");
        refused(i, -EDQUOT, "The archive holds more than 5 bytes of file contents.");
}

#define MEGABYTE (1u << 20)

static void put_random(Tar *t, const char *name, size_t size) {
        static char data[8 * MEGABYTE];
        static uint64_t x = 88172645463325252;

        for (size_t k = 0; k < size; k += sizeof(x)) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                memcpy(data + k, &x, sizeof(x));
        }
        put_entry(t, name, '0', NULL, data, size);
}

static off_t size_of(Image *i) {
        struct stat st;

        assert_int_equal(fstat(i->output, &st), 0);
        return st.st_size;
}

static bool output_has(Image *i, const char *text) {
        size_t n = (size_t) size_of(i);
        char *image = mmap(NULL, n, PROT_READ, MAP_PRIVATE, i->output, 0);
        bool found;

        assert_true(image != MAP_FAILED);
        found = memmem(image, n, text, strlen(text));
        assert_int_equal(munmap(image, n), 0);
        return found;
}

static void what_was_replaced_takes_no_space(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_random(t, "replaced", 8 * MEGABYTE);
        put_random(t, "kept", MEGABYTE);
        put_link(t, "kept-too", "kept");
        t = next(i);
        put_random(t, "removed", 8 * MEGABYTE);
        t = next(i);
        put_file(t, "replaced", "jO7=1kX%qW");
        put_file(t, ".wh.removed", "");
        put_file(t, ".wh.kept", "");
        merged(i);
        assert_true(size_of(i) < (off_t) MEGABYTE + 8192);
        assert_true(size_of(i) > (off_t) MEGABYTE);
        assert_true(output_has(i, "jO7=1kX%qW"));
        assert_int_equal(i->result.n_bytes, MEGABYTE + 10);
        assert_int_equal(squashfs_writer_file_size(at(i, "kept-too")), MEGABYTE);
        assert_int_equal(i->result.n_entries, 3);
}

static void little_garbage_is_not_worth_a_second_reading(void **state) {
        Image *i = *state;
        Tar *t;

        t = next(i);
        put_random(t, "replaced", MEGABYTE);
        put_random(t, "kept", MEGABYTE);
        put_file(next(i), "replaced", "x");
        merged(i);
        assert_true(size_of(i) > 2 * (off_t) MEGABYTE);
        assert_int_equal(i->result.n_bytes, MEGABYTE + 1);
}

static void layers_are_parsed_from_arguments(void **state) {
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        static const char *const bad[] = { "", "5", "5:0:1", "5:0:1:-", "5:0:1:-:", "x:0:1:-:-", "5:0:1:-:-:-", "5:0:1:" HEX "0:-",
                                           "5:0:1:-:ABC", "5:9223372036854775807:1:-:-" };
        Layer l;

        assert_int_equal(layer_parse("5:512:1024:" HEX ":-", &l), 0);
        assert_int_equal(l.fd, 5);
        assert_int_equal(l.offset, 512);
        assert_int_equal(l.size, 1024);
        assert_string_equal(l.digest, "sha256:" HEX);
        assert_string_equal(l.diff_id, "");
        for (size_t k = 0; k < ELEMENTSOF(bad); k++)
                if (layer_parse(bad[k], &l) != -EINVAL)
                        fail_msg("%s", bad[k]);
}

#define merge_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                merge_test(upper_layers_win),
                merge_test(whiteouts_take_away_what_is_below),
                merge_test(what_a_layer_has_itself_it_does_not_take_away),
                merge_test(hard_links_outlive_their_other_names),
                merge_test(a_hard_link_to_what_was_removed_is_refused),
                merge_test(a_lower_symbolic_link_leads_within_the_image),
                merge_test(a_symbolic_link_of_the_same_layer_leads_nowhere),
                merge_test(symbolic_links_in_circles_are_refused),
                merge_test(a_symbolic_link_to_a_file_is_no_directory),
                merge_test(a_symbolic_link_does_not_make_paths_deeper_than_allowed),
                merge_test(bad_whiteouts_are_refused),
                merge_test(what_aufs_left_behind_is_nothing),
                merge_test(only_names_that_begin_so_are_whiteouts),
                merge_test(a_blob_must_be_that_of_its_digest),
                merge_test(a_damaged_blob_is_named_by_its_digest),
                merge_test(a_blob_cut_short_is_refused),
                merge_test(a_layer_must_be_that_of_its_diff_id),
                merge_test(blobs_are_read_where_they_lie),
                merge_test(a_layer_may_be_empty),
                merge_test(bounds_hold_for_all_layers_together),
                merge_test(contents_of_all_layers_count),
                merge_test(what_was_replaced_takes_no_space),
                merge_test(little_garbage_is_not_worth_a_second_reading),
                cmocka_unit_test(layers_are_parsed_from_arguments),
        };

        (void) setlocale(LC_CTYPE, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
