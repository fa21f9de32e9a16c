/* SPDX-License-Identifier: Apache-2.0 */

/* The image store, and what is left of it after a crash at each of its steps. */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/image-catalog.h"
#include "imaged/image-store.h"

#define D(x) "sha256:" x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x
#define DIGEST_A D("a")
#define DIGEST_B D("b")

static char directory[64];
static int dir_fd = -EBADF;

static int setup(void **state) {
        (void) snprintf(directory, sizeof(directory), "/tmp/test-image-store-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int teardown(void **state) {
        dir_fd = safe_close(dir_fd);
        return remove_tree_at(AT_FDCWD, directory);
}

static ImageStore *open_store(void) {
        ImageStore *s = NULL;

        assert_int_equal(image_store_open(directory, &s), 0);
        return s;
}

static void put(ImageStore *s, const char *digest, const char *text) {
        StoreFile f;

        assert_int_equal(image_store_create(s, &f), 0);
        assert_int_equal(write_all(f.fd, text, strlen(text)), 0);
        assert_int_equal(image_store_commit(s, &f, digest), 0);
        assert_true(f.fd < 0);
        assert_null(f.temporary);
}

static int write_record(ImageStore *s, const char *digest, const char *content, uint64_t size) {
        ImageRecord record = { .size = size, .entries = 7, .created = 8 };

        (void) snprintf(record.digest, sizeof(record.digest), "%s", digest);
        (void) snprintf(record.content, sizeof(record.content), "%s", content);
        (void) snprintf(record.source, sizeof(record.source), "source");
        return image_store_write_record(s, &record);
}

/* Content, record and tag, as an import makes them: the image has the digest of its content. */
static void put_image(ImageStore *s, const char *reference, const char *digest, const char *text) {
        put(s, digest, text);
        assert_int_equal(write_record(s, digest, digest, strlen(text)), 0);
        assert_int_equal(image_store_tag(s, reference, digest), 0);
}

static void write_file(const char *path, const char *text) {
        int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        safe_close(fd);
}

static void what_is_put_in_comes_out(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        _cleanup_(image_record_done) ImageRecord record = {};
        _cleanup_close_ int fd = -EBADF;
        char digest[DIGEST_LENGTH + 1];
        char buf[8] = {};
        struct stat st;

        put_image(s, "library/alpine:3", DIGEST_A, "hello");
        s = image_store_free(s);
        s = open_store();
        assert_int_equal(image_store_resolve(s, "library/alpine:3", digest), 0);
        assert_string_equal(digest, DIGEST_A);
        assert_int_equal(image_store_read_record(s, digest, &record), 0);
        assert_string_equal(record.digest, DIGEST_A);
        assert_string_equal(record.content, DIGEST_A);
        assert_string_equal(record.source, "source");
        assert_int_equal(record.size, 5);
        assert_int_equal(record.entries, 7);
        assert_int_equal(record.created, 8);
        assert_false(record.has_config);
        fd = image_store_open_content(s, DIGEST_A, 5);
        assert_true(fd >= 0);
        assert_int_equal(read(fd, buf, sizeof(buf)), 5);
        assert_string_equal(buf, "hello");
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0400);
}

static void a_configuration_is_kept(void **state) {
        static char *const entrypoint[] = { (char *) "/bin/sh", (char *) "-c", (char *) "", NULL };
        static char *const env[] = { (char *) "A=b c\"\\", (char *) "U=\xc3\xa9", NULL };
        static char *const labels[] = { (char *) "a.b=c=d", NULL };
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        _cleanup_(image_record_done) ImageRecord back = {};
        ImageRecord record = { .digest = DIGEST_B, .content = DIGEST_A, .layers = 3, .pulled = 4, .last_used = 5, .has_config = true };

        record.config = (ImageConfig) { .platform = (char *) "linux/amd64", .entrypoint = (char **) entrypoint, .env = (char **) env,
                                        .user = (char *) "1000:x", .working_directory = (char *) "/srv",
                                        .stop_signal = (char *) "SIGINT", .labels = (char **) labels };
        put(s, DIGEST_A, "hello");
        assert_int_equal(image_store_write_record(s, &record), 0);
        assert_int_equal(image_store_read_record(s, DIGEST_B, &back), 0);
        assert_true(back.has_config);
        assert_true(strv_equal(back.config.entrypoint, entrypoint));
        assert_true(strv_equal(back.config.env, env));
        assert_true(strv_equal(back.config.labels, labels));
        assert_int_equal(strv_length(back.config.cmd), 0);
        assert_string_equal(back.config.platform, "linux/amd64");
        assert_string_equal(back.config.user, "1000:x");
        assert_string_equal(back.config.working_directory, "/srv");
        assert_string_equal(back.config.stop_signal, "SIGINT");
        assert_int_equal(back.layers, 3);
        assert_int_equal(back.pulled, 4);
        assert_int_equal(back.last_used, 5);
}

static void the_same_content_again_is_success(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();

        put(s, DIGEST_A, "hello");
        put(s, DIGEST_A, "hello");
}

static void a_damaged_content_is_mended_by_the_same_one(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        _cleanup_close_ int fd = -EBADF;
        char path[192];

        put(s, DIGEST_A, "hello");
        (void) snprintf(path, sizeof(path), "%s/content/%s.squashfs", directory, DIGEST_A + strlen(DIGEST_PREFIX));
        assert_int_equal(truncate(path, 2), 0);
        assert_int_equal(image_store_open_content(s, DIGEST_A, 5), -EUCLEAN);
        put(s, DIGEST_A, "hello");
        fd = image_store_open_content(s, DIGEST_A, 5);
        assert_true(fd >= 0);
}

static void what_is_not_there_is_said_so(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        char digest[DIGEST_LENGTH + 1];
        ImageRecord record;

        assert_int_equal(image_store_resolve(s, "a:b", digest), -ENOENT);
        assert_int_equal(image_store_untag(s, "a:b"), -ENOENT);
        assert_int_equal(image_store_read_record(s, DIGEST_A, &record), -ENOENT);
        assert_int_equal(image_store_read_record(s, "../x", &record), -EINVAL);
        assert_int_equal(image_store_open_content(s, DIGEST_A, 1), -ENOENT);
        assert_int_equal(image_store_open_content(s, "../../etc/passwd", 1), -EINVAL);
        assert_int_equal(image_store_tag(s, "a:b", DIGEST_A), -ENOENT);        /* no tag without its record */
        assert_int_equal(write_record(s, DIGEST_A, DIGEST_A, 1), -ENOENT); /* no record without its content */
        assert_int_equal(image_store_remove_content(s, DIGEST_A), 0);
        assert_int_equal(image_store_remove_record(s, DIGEST_A), 0);
}

static void two_processes_do_not_share_a_store(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store(), *other = NULL;

        assert_int_equal(image_store_open(directory, &other), -EBUSY);
}

static void a_content_of_another_size_is_damaged(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        _cleanup_close_ int fd = -EBADF;

        put(s, DIGEST_A, "hello");
        assert_int_equal(image_store_open_content(s, DIGEST_A, 6), -EUCLEAN);
        fd = image_store_open_content(s, DIGEST_A, UINT64_MAX);
        assert_true(fd >= 0);
}

static Catalog load(ImageStore *s) {
        Catalog c;

        assert_int_equal(catalog_load(&c, s, NULL, NULL), 0);
        return c;
}

static void the_catalog_is_what_is_on_disk(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        Catalog c;
        Image *i;

        put_image(s, "b:1", DIGEST_A, "hello");
        put_image(s, "a:2", DIGEST_A, "hello");
        put_image(s, "c:3", DIGEST_B, "moon");
        c = load(s);
        assert_string_equal(c.tags->reference, "a:2");
        assert_string_equal(((Tag *) c.tags->hh.next)->reference, "b:1");
        assert_ptr_equal(c.tags->image, catalog_image(&c, DIGEST_A));
        assert_int_equal(image_count_tags(&c, c.tags->image), 2);
        assert_int_equal(catalog_size(&c), 9);
        assert_int_equal(catalog_resolve(&c, DIGEST_B, &i), 0);
        assert_int_equal(catalog_resolve(&c, "other@" DIGEST_B, &i), 0);
        assert_int_equal(catalog_resolve(&c, "nothing:x", &i), -ENOENT);
        assert_int_equal(catalog_find_abbreviated(&c, "aaaaaa", &i), 0);
        assert_string_equal(i->record.digest, DIGEST_A);
        assert_int_equal(catalog_find_abbreviated(&c, "", &i), -ENOTUNIQ);
        assert_int_equal(catalog_find_abbreviated(&c, "cccccc", &i), -ENOENT);
        catalog_done(&c);
}

static void a_tag_that_cannot_be_read_stands_alone(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        Catalog c;
        Image *i;

        put_image(s, "a:2", DIGEST_A, "hello");
        write_file("tags/c=3", "{\"version\":1,");
        write_file("tags/d=4", "{\"version\":2,\"digest\":\"" DIGEST_B "\"}");
        c = load(s);
        assert_int_equal(catalog_resolve(&c, "c:3", &i), -EUCLEAN);
        assert_int_equal(catalog_resolve(&c, "d:4", &i), -EUCLEAN); /* of an image that is not there */
        assert_int_equal(catalog_resolve(&c, "a:2", &i), 0);
        /* It may point at anything: of no image can be said that it has no tag. */
        assert_false(catalog_is_sure(&c));
        assert_int_equal(catalog_untag(&c, "c:3"), 0);
        assert_true(catalog_is_sure(&c));
        catalog_done(&c);
}

static void contents_without_a_record_go_unless_one_cannot_be_read(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        Catalog c;
        int fd;

        put_image(s, "a:2", DIGEST_A, "hello");
        put(s, DIGEST_B, "orphan");
        write_file("images/cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.json", "{");
        c = load(s);
        assert_int_equal(c.n_broken, 1);
        catalog_done(&c);
        fd = image_store_open_content(s, DIGEST_B, 6);
        assert_true(fd >= 0);
        safe_close(fd);
        assert_int_equal(image_store_remove_record(s, D("c")), 0);
        c = load(s);
        assert_int_equal(c.n_broken, 0);
        catalog_done(&c);
        assert_int_equal(image_store_open_content(s, DIGEST_B, 6), -ENOENT);
        fd = image_store_open_content(s, DIGEST_A, 5);
        assert_true(fd >= 0);
        safe_close(fd);
}

static ImageRecord make_record(const char *digest, const char *content, uint64_t size) {
        ImageRecord record = { .size = size, .created = 1, .pulled = 2, .last_used = 3 };

        (void) snprintf(record.digest, sizeof(record.digest), "%s", digest);
        (void) snprintf(record.content, sizeof(record.content), "%s", content);
        return record;
}

static void images_that_share_a_content_share_its_space(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageRecord one = make_record(DIGEST_A, DIGEST_B, 5), other = make_record(D("c"), DIGEST_B, 5);
        Catalog c = load(s);
        Image *i, *k;
        int fd;

        put(s, DIGEST_B, "hello");
        assert_int_equal(catalog_put(&c, &one, "a:1", &i), 0);
        assert_int_equal(catalog_put(&c, &other, "a:2", &k), 0);
        assert_int_equal(catalog_size(&c), 5);
        assert_int_equal(catalog_count_content(&c, DIGEST_B), 2);
        i->doomed = true;
        assert_int_equal(catalog_size(&c), 5);
        k->doomed = true;
        assert_int_equal(catalog_size(&c), 0);
        i->doomed = k->doomed = false;
        assert_int_equal(catalog_remove(&c, i), 0);
        assert_null(catalog_tag(&c, "a:1"));
        fd = image_store_open_content(s, DIGEST_B, 5);
        assert_true(fd >= 0);
        safe_close(fd);
        assert_int_equal(catalog_remove(&c, k), 0);
        assert_int_equal(image_store_open_content(s, DIGEST_B, 5), -ENOENT);
        catalog_done(&c);
}

static void a_moved_tag_leaves_its_image_and_use_is_written_down(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageRecord one = make_record(DIGEST_A, DIGEST_A, 5), other = make_record(DIGEST_B, DIGEST_B, 4);
        Catalog c = load(s);
        Image *i, *k;

        put(s, DIGEST_A, "hello");
        put(s, DIGEST_B, "moon");
        assert_int_equal(catalog_put(&c, &one, "a:1", &i), 0);
        assert_int_equal(catalog_put(&c, &other, "a:1", &k), 0);
        assert_int_equal(image_count_tags(&c, i), 0);
        assert_int_equal(image_count_tags(&c, k), 1);
        assert_false(catalog_flush(&c));
        catalog_touch(&c, i);
        catalog_done(&c);
        c = load(s);
        assert_true(catalog_image(&c, DIGEST_A)->record.last_used > 1000);
        assert_int_equal(catalog_image(&c, DIGEST_B)->record.last_used, 3);
        catalog_done(&c);
}

static void records_with_nonsense_in_them_are_broken(void **state) {
#define NUMBERS "\"entries\":1,\"layers\":1,\"created\":1,\"pulled\":1,\"last_used\":1,\"source\":\"\""
        static const char *const bad[] = {
                "", "[]", "null", "{}",
                "{\"version\":2,\"content\":\"" DIGEST_A "\",\"size\":5," NUMBERS "}",
                "{\"version\":1,\"content\":\"sha256:../../x\",\"size\":5," NUMBERS "}",
                "{\"version\":1,\"content\":\"" DIGEST_A "\",\"size\":-5," NUMBERS "}",
                "{\"version\":1,\"content\":\"" DIGEST_A "\",\"size\":\"5\"," NUMBERS "}",
                "{\"version\":1,\"content\":\"" DIGEST_A "\",\"size\":5," NUMBERS ",\"config\":[]}",
                "{\"version\":1,\"content\":\"" DIGEST_A "\",\"size\":5," NUMBERS ",\"config\":{\"user\":1}}",
        };
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageRecord record;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                write_file("images/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.json", bad[i]);
                assert_int_equal(image_store_read_record(s, DIGEST_A, &record), -EUCLEAN);
        }
}

static void more_tags_than_allowed_are_refused(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageRecord record = make_record(DIGEST_A, DIGEST_A, 5);
        char name[64];
        Catalog c;
        Image *i;

        for (unsigned k = 0; k < STORE_TAGS_MAX; k++) {
                (void) snprintf(name, sizeof(name), "tags/n%u=x", k);
                safe_close(openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        }
        c = load(s);
        put(s, DIGEST_A, "hello"); /* not before: it would be an orphan */
        assert_int_equal(catalog_put(&c, &record, "one/more:x", NULL), -EDQUOT);
        assert_int_equal(image_store_open_content(s, DIGEST_A, 5), -ENOENT); /* it is not left to nobody */
        put(s, DIGEST_A, "hello");
        record = make_record(DIGEST_A, DIGEST_A, 5);
        assert_int_equal(catalog_put(&c, &record, "n5:x", &i), 0); /* replaces one */
        assert_int_equal(catalog_set_tag(&c, "one/more:x", i), -EDQUOT);
        catalog_done(&c);
}

static unsigned count_files(const char *subdirectory) {
        char command[128];
        unsigned n = 0;
        FILE *p;

        (void) snprintf(command, sizeof(command), "find %s/%s -type f | wc -l", directory, subdirectory);
        p = popen(command, "re");
        assert_non_null(p);
        assert_int_equal(fscanf(p, "%u", &n), 1);
        pclose(p);
        return n;
}

static void a_crash_while_a_content_is_written_leaves_nothing(void **state) {
        ImageStore *s = open_store();
        StoreFile f;

        assert_int_equal(image_store_create(s, &f), 0);
        assert_int_equal(write_all(f.fd, "half", 4), 0);
        safe_close(f.fd); /* that is the crash */
        free(f.temporary);
        image_store_free(s);
        /* The same on a file system without anonymous files, and in the middle of writing a tag. */
        safe_close(openat(dir_fd, "content/" TMPFILE_PREFIX "0123", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        safe_close(openat(dir_fd, "tags/.#a=b", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        image_store_free(open_store());
        assert_int_equal(count_files("."), 0);
}

static void a_crash_between_content_and_tag_leaves_the_old_image(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        char digest[DIGEST_LENGTH + 1];
        Catalog c;

        put_image(s, "a:b", DIGEST_A, "old");
        put(s, DIGEST_B, "new");
        assert_int_equal(write_record(s, DIGEST_B, DIGEST_B, 3), 0);
        s = image_store_free(s);
        s = open_store();
        assert_int_equal(image_store_resolve(s, "a:b", digest), 0);
        assert_string_equal(digest, DIGEST_A);
        c = load(s);
        assert_int_equal(image_count_tags(&c, catalog_image(&c, DIGEST_B)), 0);
        catalog_done(&c);
}

/* Imports the one and the other under the same tag until it is killed. */
static _Noreturn void write_for_ever(void) {
        ImageStore *s = open_store();
        Catalog c = load(s);

        for (;;) {
                ImageRecord one = make_record(DIGEST_A, DIGEST_A, 3), other = make_record(DIGEST_B, DIGEST_B, 4);

                put(s, DIGEST_A, "aaa");
                if (catalog_put(&c, &one, "a:b", NULL) < 0)
                        _exit(1);
                put(s, DIGEST_B, "bbbb");
                if (catalog_put(&c, &other, "a:b", NULL) < 0 || catalog_remove(&c, catalog_image(&c, DIGEST_A)) < 0)
                        _exit(1);
        }
}

static void killed_at_any_moment_there_is_the_old_or_the_new(void **state) {
        ImageStore *first = open_store();

        put_image(first, "a:b", DIGEST_A, "aaa");
        image_store_free(first);
        for (int i = 0; i < 40; i++) {
                _cleanup_(image_store_freep) ImageStore *s = NULL;
                _cleanup_close_ int fd = -EBADF;
                char content[8] = {};
                Image *image;
                int status;
                Catalog c;
                pid_t pid;

                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        write_for_ever();
                (void) nanosleep(&(struct timespec) { .tv_nsec = 3000000 + i * 377777 }, NULL);
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status));

                s = open_store();
                c = load(s);
                assert_int_equal(c.n_broken + c.n_foreign, 0);
                assert_int_equal(catalog_resolve(&c, "a:b", &image), 0);
                fd = image_store_open_content(s, image->record.content, image->record.size);
                assert_true(fd >= 0);
                assert_int_equal(read(fd, content, sizeof(content)), (ssize_t) image->record.size);
                assert_string_equal(content, streq(image->record.digest, DIGEST_A) ? "aaa" : "bbbb");
                assert_int_equal(count_files("tags"), 1);
                assert_int_equal(count_files("images"), count_files("content"));
                catalog_done(&c);
        }
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                store_test(what_is_put_in_comes_out),
                store_test(the_same_content_again_is_success),
                store_test(a_damaged_content_is_mended_by_the_same_one),
                store_test(what_is_not_there_is_said_so),
                store_test(two_processes_do_not_share_a_store),
                store_test(a_content_of_another_size_is_damaged),
                store_test(a_configuration_is_kept),
                store_test(the_catalog_is_what_is_on_disk),
                store_test(a_tag_that_cannot_be_read_stands_alone),
                store_test(contents_without_a_record_go_unless_one_cannot_be_read),
                store_test(images_that_share_a_content_share_its_space),
                store_test(a_moved_tag_leaves_its_image_and_use_is_written_down),
                store_test(records_with_nonsense_in_them_are_broken),
                store_test(more_tags_than_allowed_are_refused),
                store_test(a_crash_while_a_content_is_written_leaves_nothing),
                store_test(a_crash_between_content_and_tag_leaves_the_old_image),
                store_test(killed_at_any_moment_there_is_the_old_or_the_new),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
