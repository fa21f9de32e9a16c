/* SPDX-License-Identifier: Apache-2.0 */

/* What is where in an archive that is read in place. */

#include <archive.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/archive-index.h"
#include "unit/imaged/tar-maker.h"

typedef struct Seen {
        int fd;
        char text[4096]; /* "NAME=CONTENTS " of each */
} Seen;

static int on_entry(uint64_t offset, uint64_t size, const char *name, void *userdata) {
        Seen *s = userdata;
        char contents[64] = {};

        assert_true(size < sizeof(contents));
        assert_int_equal(pread(s->fd, contents, size, (off_t) offset), size);
        strcat(strcat(strcat(strcat(s->text, name), "="), contents), " ");
        return 0;
}

static int index_of(Tar *t, Seen *s, uint32_t *ret_n, char **ret_why) {
        *s = (Seen) { .fd = t->fd };
        return archive_index(t->fd, on_entry, s, ret_n, ret_why);
}

static void indexed(Tar *t, const char *expected) {
        char *why = NULL;
        uint32_t n;
        Seen s;

        put_end(t);
        if (index_of(t, &s, &n, &why) < 0)
                fail_msg("%s", strna(why));
        assert_string_equal(s.text, expected);
        t->fd = safe_close(t->fd);
}

static void refused(Tar *t, const char *sentence) {
        _cleanup_free_ char *why = NULL;
        uint32_t n;
        Seen s;
        int r;

        r = index_of(t, &s, &n, &why);
        if ((r != -EBADMSG && r != -EDQUOT) || !why || !strstr(why, sentence))
                fail_msg("%d %s instead of %s", r, strna(why), sentence);
        assert_true(utf8_is_clean(why, NULL));
        t->fd = safe_close(t->fd);
}

static void files_are_where_it_says(void **state) {
        Tar t = tar_new();

        put_entry(&t, "blobs/", '5', NULL, NULL, 0);
        put_file(&t, "./oci-layout", "{}");
        put_file(&t, "blobs/sha256/0a", "a blob");
        put_file(&t, "empty", "");
        put_pax(&t, "path", "index.json", 10);
        put_file(&t, "short", "[]");
        indexed(&t, "blobs/sha256/0a=a blob empty= index.json=[] oci-layout={} ");
}

static int ignore(uint64_t offset, uint64_t size, const char *name, void *userdata) {
        return 0;
}

/* Much longer than what is read at once, so that it must be skipped. */
static void long_contents_are_not_read(void **state) {
        Header h = header("long", '0', UINT64_C(6) << 30);
        Tar t = tar_new();
        char *why = NULL;
        uint32_t n;

        put_header(&t, &h);
        assert_int_equal(ftruncate(t.fd, 512 + (off_t) (UINT64_C(6) << 30)), 0);
        assert_true(lseek(t.fd, 0, SEEK_END) > 0);
        put_file(&t, "after", "x");
        put_end(&t);
        assert_int_equal(archive_index(t.fd, ignore, NULL, &n, &why), 0);
        assert_int_equal(n, 2);
        safe_close(t.fd);
}

/* "docker save" of old, and skopeo, have links for layers that are there under another name. */
static void links_are_resolved(void **state) {
        Tar t = tar_new();

        put_entry(&t, "0b/layer.tar", '2', "../0a/layer.tar", NULL, 0);
        put_file(&t, "0a/layer.tar", "layer");
        put_entry(&t, "0c/layer.tar", '1', "0a/layer.tar", NULL, 0);
        put_entry(&t, "0d/layer.tar", '2', "other", NULL, 0);
        put_file(&t, "0d/other", "other");
        put_entry(&t, "nowhere", '2', "../../../etc/passwd", NULL, 0);
        put_entry(&t, "chain", '2', "0b/layer.tar", NULL, 0);
        indexed(&t, "0a/layer.tar=layer 0b/layer.tar=layer 0c/layer.tar=layer 0d/layer.tar=other 0d/other=other ");
}

static void what_no_image_has_is_refused(void **state) {
        static const char *const names[] = { "../x", "/x", "a/../x", "a b", "new\nline", "a//b", "a/./b", "\xff" };
        char name[300];
        Tar t;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                t = tar_new();
                put_file(&t, names[i], "x");
                put_end(&t);
                refused(&t, "has a name that none of an image has.");
        }
        memset(name, 'n', sizeof(name));
        t = tar_new();
        put_pax(&t, "path", name, sizeof(name));
        put_file(&t, "short", "x");
        put_end(&t);
        refused(&t, "has a name that none of an image has.");
        t = tar_new();
        put_entry(&t, "fifo", '6', NULL, NULL, 0);
        put_end(&t);
        refused(&t, "Entry \"fifo\" of the archive is not a plain file.");
        t = tar_new();
        put_file(&t, "twice", "x");
        put_file(&t, "./twice", "y");
        put_end(&t);
        refused(&t, "Entry \"twice\" of the archive is there twice.");
}

static void what_is_no_plain_tar_is_refused(void **state) {
        Tar t = tar_new();

        put_file(&t, "a", "x");
        put_end(&t);
        t = compressed(&t, ARCHIVE_FILTER_GZIP);
        refused(&t, "The archive is compressed");
        t = tar_new();
        put(&t, "nonsense", 8);
        refused(&t, "The archive cannot be read");
        /* A blob that is cut off by the end of the file. */
        t = tar_new();
        put_file(&t, "a", "12345678");
        assert_int_equal(ftruncate(t.fd, 515), 0);
        refused(&t, "The archive was cut short.");
        t.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        refused(&t, "is not a file");
}

static void there_are_only_so_many(void **state) {
        Tar t = tar_new();
        char name[32];

        for (unsigned i = 0; i <= 4096; i++) {
                (void) snprintf(name, sizeof(name), "f%u", i);
                put_file(&t, name, "");
        }
        put_end(&t);
        refused(&t, "The archive holds more than 4096 files.");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_are_where_it_says),
                cmocka_unit_test(long_contents_are_not_read),
                cmocka_unit_test(links_are_resolved),
                cmocka_unit_test(what_no_image_has_is_refused),
                cmocka_unit_test(what_is_no_plain_tar_is_refused),
                cmocka_unit_test(there_are_only_so_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
