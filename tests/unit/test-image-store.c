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

static int tag(ImageStore *s, const char *reference, const char *digest, uint64_t size) {
        ImageTag t = { .size = size, .entries = 7, .created = 8 };

        (void) snprintf(t.reference, sizeof(t.reference), "%s", reference);
        (void) snprintf(t.digest, sizeof(t.digest), "%s", digest);
        (void) snprintf(t.source, sizeof(t.source), "source");
        return image_store_tag(s, &t);
}

static void what_is_put_in_comes_out(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        _cleanup_close_ int fd = -EBADF;
        ImageTag t;
        char buf[8] = {};
        struct stat st;

        put(s, DIGEST_A, "hello");
        assert_int_equal(tag(s, "library/alpine:3", DIGEST_A, 5), 0);
        s = image_store_free(s);
        s = open_store();
        assert_int_equal(image_store_resolve(s, "library/alpine:3", &t), 0);
        assert_string_equal(t.reference, "library/alpine:3");
        assert_string_equal(t.digest, DIGEST_A);
        assert_string_equal(t.source, "source");
        assert_int_equal(t.size, 5);
        assert_int_equal(t.entries, 7);
        assert_int_equal(t.created, 8);
        fd = image_store_open_content(s, DIGEST_A, 5);
        assert_true(fd >= 0);
        assert_int_equal(read(fd, buf, sizeof(buf)), 5);
        assert_string_equal(buf, "hello");
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0400);
}

static void the_same_content_again_is_success(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();

        put(s, DIGEST_A, "hello");
        put(s, DIGEST_A, "hello");
}

static void what_is_not_there_is_said_so(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageTag t;

        assert_int_equal(image_store_resolve(s, "a:b", &t), -ENOENT);
        assert_int_equal(image_store_untag(s, "a:b"), -ENOENT);
        assert_int_equal(image_store_open_content(s, DIGEST_A, 1), -ENOENT);
        assert_int_equal(image_store_open_content(s, "../../etc/passwd", 1), -EINVAL);
        assert_int_equal(tag(s, "a:b", DIGEST_A, 1), -ENOENT); /* no tag without its content */
        assert_int_equal(image_store_remove_content(s, DIGEST_A), 0);
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

static void the_list_is_sorted_and_leaves_out_what_is_broken(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        _cleanup_free_ ImageTag *tags = NULL;
        _cleanup_strv_free_ char **untagged = NULL;
        unsigned broken;
        size_t n;
        int fd;

        put(s, DIGEST_A, "hello");
        put(s, DIGEST_B, "world");
        assert_int_equal(tag(s, "b:1", DIGEST_A, 5), 0);
        assert_int_equal(tag(s, "a:2", DIGEST_A, 5), 0);
        assert_int_equal(image_store_untagged(s, &untagged), 0);
        assert_int_equal(strv_length(untagged), 1);
        assert_string_equal(untagged[0], DIGEST_B);

        fd = openat(dir_fd, "tags/c@3", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, "{\"version\":1,", 13), 0);
        safe_close(fd);
        assert_int_equal(image_store_list(s, &tags, &n, &broken), 0);
        assert_int_equal(n, 2);
        assert_int_equal(broken, 1);
        assert_string_equal(tags[0].reference, "a:2");
        assert_string_equal(tags[1].reference, "b:1");
        /* The broken one may point at anything: nothing can be said to be unused. */
        untagged = strv_free(untagged);
        assert_int_equal(image_store_untagged(s, &untagged), -EUCLEAN);
        assert_int_equal(image_store_resolve(s, "c:3", tags), -EUCLEAN);
        assert_int_equal(image_store_untag(s, "c:3"), 0);
        assert_int_equal(image_store_untagged(s, &untagged), 0);
}

static void tags_with_nonsense_in_them_are_broken(void **state) {
        static const char *const bad[] = {
                "", "[]", "null", "{}",
                "{\"version\":2,\"digest\":\"" DIGEST_A "\",\"size\":5,\"entries\":1,\"created\":1}",
                "{\"version\":1,\"digest\":\"sha256:../../x\",\"size\":5,\"entries\":1,\"created\":1}",
                "{\"version\":1,\"digest\":\"" DIGEST_A "\",\"size\":-5,\"entries\":1,\"created\":1}",
                "{\"version\":1,\"digest\":\"" DIGEST_A "\",\"size\":5,\"entries\":99999999999,\"created\":1}",
                "{\"version\":1,\"digest\":\"" DIGEST_A "\",\"size\":\"5\",\"entries\":1,\"created\":1}",
        };
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageTag t;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int fd = openat(dir_fd, "tags/c@3", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                assert_true(fd >= 0);
                assert_int_equal(write_all(fd, bad[i], strlen(bad[i])), 0);
                safe_close(fd);
                assert_int_equal(image_store_resolve(s, "c:3", &t), -EUCLEAN);
        }
}

static void more_tags_than_allowed_are_refused(void **state) {
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        char reference[32];

        put(s, DIGEST_A, "hello");
        for (unsigned i = 0; i < STORE_TAGS_MAX; i++) {
                (void) snprintf(reference, sizeof(reference), "tags/n%u@x", i);
                safe_close(openat(dir_fd, reference, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        }
        assert_int_equal(tag(s, "one/more:x", DIGEST_A, 5), -EDQUOT);
        assert_int_equal(tag(s, "n5:x", DIGEST_A, 5), 0); /* replaces one */
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
        safe_close(openat(dir_fd, "tags/.#a@b", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        image_store_free(open_store());
        assert_int_equal(count_files("."), 0);
}

static void a_crash_between_content_and_tag_leaves_the_old_image(void **state) {
        _cleanup_strv_free_ char **untagged = NULL;
        _cleanup_(image_store_freep) ImageStore *s = open_store();
        ImageTag t;

        put(s, DIGEST_A, "old");
        assert_int_equal(tag(s, "a:b", DIGEST_A, 3), 0);
        put(s, DIGEST_B, "new");
        s = image_store_free(s);
        s = open_store();
        assert_int_equal(image_store_resolve(s, "a:b", &t), 0);
        assert_string_equal(t.digest, DIGEST_A);
        assert_int_equal(image_store_untagged(s, &untagged), 0);
        assert_int_equal(strv_length(untagged), 1);
        assert_string_equal(untagged[0], DIGEST_B);
}

/* Imports the one and the other under the same tag until it is killed. */
static _Noreturn void write_for_ever(void) {
        ImageStore *s = open_store();

        for (;;) {
                put(s, DIGEST_A, "aaa");
                if (tag(s, "a:b", DIGEST_A, 3) < 0)
                        _exit(1);
                put(s, DIGEST_B, "bbbb");
                if (tag(s, "a:b", DIGEST_B, 4) < 0)
                        _exit(1);
                if (image_store_remove_content(s, DIGEST_A) < 0)
                        _exit(1);
        }
}

static void killed_at_any_moment_there_is_the_old_or_the_new(void **state) {
        ImageStore *first = open_store();

        put(first, DIGEST_A, "aaa");
        assert_int_equal(tag(first, "a:b", DIGEST_A, 3), 0);
        image_store_free(first);
        for (int i = 0; i < 40; i++) {
                _cleanup_(image_store_freep) ImageStore *s = NULL;
                _cleanup_close_ int fd = -EBADF;
                char content[8] = {};
                int status;
                ImageTag t;
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
                assert_int_equal(image_store_resolve(s, "a:b", &t), 0);
                fd = image_store_open_content(s, t.digest, t.size);
                assert_true(fd >= 0);
                assert_int_equal(read(fd, content, sizeof(content)), (ssize_t) t.size);
                assert_string_equal(content, streq(t.digest, DIGEST_A) ? "aaa" : "bbbb");
                assert_int_equal(count_files("tags"), 1);
        }
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                store_test(what_is_put_in_comes_out),
                store_test(the_same_content_again_is_success),
                store_test(what_is_not_there_is_said_so),
                store_test(two_processes_do_not_share_a_store),
                store_test(a_content_of_another_size_is_damaged),
                store_test(the_list_is_sorted_and_leaves_out_what_is_broken),
                store_test(tags_with_nonsense_in_them_are_broken),
                store_test(more_tags_than_allowed_are_refused),
                store_test(a_crash_while_a_content_is_written_leaves_nothing),
                store_test(a_crash_between_content_and_tag_leaves_the_old_image),
                store_test(killed_at_any_moment_there_is_the_old_or_the_new),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
