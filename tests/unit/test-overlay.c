/* SPDX-License-Identifier: Apache-2.0 */

/* Overlay disks with the real mke2fs and e2fsck. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/fd-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "storage/overlay.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static char directory[64];
static int dir_fd = -EBADF;

static int setup(void **state) {
        (void) snprintf(directory, sizeof(directory), "/tmp/test-overlay-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int teardown(void **state) {
        dir_fd = safe_close(dir_fd);
        return remove_tree_at(AT_FDCWD, directory);
}

static int run(char *const *argv, int fd) {
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR);

                (void) dup2(null, STDOUT_FILENO);
                (void) dup2(null, STDERR_FILENO);
                if (fd_cloexec(fd, false) < 0)
                        _exit(126);
                execv(argv[0], argv);
                _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int fsck(int fd) {
        char path[32];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return run((char *[]) { (char *) "/sbin/e2fsck", (char *) "-fn", path, NULL }, fd);
}

static int template_of(uint64_t size) {
        _cleanup_strv_free_ char **argv = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = overlay_template_open(dir_fd, size);
        if (r >= 0)
                return r;
        assert_int_equal(r, -ENOENT);
        fd = overlay_template_new(dir_fd, size);
        assert_true(fd >= 0);
        argv = overlay_mkfs_argv(fd, size);
        assert_non_null(argv);
        assert_int_equal(run(argv, fd), 0);
        assert_int_equal(overlay_template_publish(fd, dir_fd, size), 0);
        return overlay_template_open(dir_fd, size);
}

static void a_clone_is_a_clean_file_system_of_the_size_asked_for(void **state) {
        static const uint64_t sizes[] = { 16 * MIB, 63 * MIB, 64 * MIB, GIB, 10 * GIB, 1024 * GIB };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_close_ int template = template_of(sizes[i]), fd = -EBADF;
                struct stat st;

                assert_true(template >= 0);
                fd = overlay_clone(template, dir_fd, "overlay.img");
                assert_true(fd >= 0);
                assert_int_equal(fstat(fd, &st), 0);
                assert_int_equal(st.st_size, sizes[i]);
                assert_int_equal(st.st_mode, S_IFREG | 0600);
                assert_true(st.st_blocks * 512 < 8 * (off_t) MIB);
                if (sizes[i] <= 10 * GIB) {
                        assert_true(st.st_blocks * 512 < 512 * 1024);
                        assert_int_equal(fsck(fd), 0);
                }
                assert_int_equal(unlinkat(dir_fd, "overlay.img", 0), 0);
        }
}

static void a_clone_never_replaces_nor_follows(void **state) {
        _cleanup_close_ int template = template_of(16 * MIB);
        struct stat st;

        assert_true(template >= 0);
        assert_int_equal(symlinkat("elsewhere", dir_fd, "overlay.img"), 0);
        assert_int_equal(overlay_clone(template, dir_fd, "overlay.img"), -EEXIST);
        assert_int_equal(fstatat(dir_fd, "elsewhere", &st, 0), -1);
        assert_int_equal(unlinkat(dir_fd, "overlay.img", 0), 0);
}

static void a_failed_clone_leaves_nothing(void **state) {
        int pipe_fds[2];
        struct stat st;

        /* No file that could be copied. */
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        assert_true(overlay_clone(pipe_fds[0], dir_fd, "overlay.img") < 0);
        assert_int_equal(fstatat(dir_fd, "overlay.img", &st, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(errno, ENOENT);
        safe_close(pipe_fds[0]);
        safe_close(pipe_fds[1]);
}

static void an_unpublished_template_is_not_there(void **state) {
        _cleanup_close_ int fd = overlay_template_new(dir_fd, 17 * MIB);

        assert_true(fd >= 0);
        assert_int_equal(overlay_template_open(dir_fd, 17 * MIB), -ENOENT);
        /* A file of another size is not published under this one's name. */
        assert_int_equal(overlay_template_publish(fd, dir_fd, 18 * MIB), -EINVAL);
        assert_int_equal(overlay_template_publish(fd, dir_fd, 17 * MIB), 0);
        /* Somebody else was first. */
        assert_int_equal(overlay_template_publish(fd, dir_fd, 17 * MIB), 0);
}

static void without_anonymous_files_a_template_is_published_by_copy(void **state) {
        _cleanup_close_ int fd = openat(dir_fd, "plain", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), published = -EBADF;
        char found[5] = {};

        /* What tmpfile_open() comes down to on such a file system: a file unlinked at once. */
        assert_true(fd >= 0);
        assert_int_equal(unlinkat(dir_fd, "plain", 0), 0);
        assert_int_equal(ftruncate(fd, 20 * MIB), 0);
        assert_int_equal(pwrite(fd, "hello", 5, 10 * MIB), 5);
        assert_int_equal(overlay_template_publish(fd, dir_fd, 20 * MIB), 0);
        published = overlay_template_open(dir_fd, 20 * MIB);
        assert_true(published >= 0);
        assert_int_equal(pread(published, found, 5, 10 * MIB), 5);
        assert_memory_equal(found, "hello", 5);
}

static void a_template_cut_short_is_refused(void **state) {
        _cleanup_close_ int fd = overlay_template_new(dir_fd, 19 * MIB);

        assert_true(fd >= 0);
        assert_int_equal(overlay_template_publish(fd, dir_fd, 19 * MIB), 0);
        assert_int_equal(ftruncate(fd, MIB), 0);
        assert_int_equal(overlay_template_open(dir_fd, 19 * MIB), -EUCLEAN);
}

/* The file system follows in the guest (hero-init), for no tool of the host is to read what a guest wrote; until then the
 * smaller one in the larger file is whole. */
static void growing_leaves_the_file_system_whole(void **state) {
        _cleanup_close_ int template = template_of(GIB), fd = -EBADF;
        struct stat st;

        assert_true(template >= 0);
        fd = overlay_clone(template, dir_fd, "grow.img");
        assert_true(fd >= 0);
        assert_int_equal(overlay_grow(fd, 20 * GIB), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 20 * GIB);
        assert_int_equal(fsck(fd), 0);

        assert_int_equal(overlay_grow(fd, 20 * GIB), 0);
        assert_int_equal(overlay_grow(fd, GIB), -EINVAL);
        assert_int_equal(unlinkat(dir_fd, "grow.img", 0), 0);
}

static void sizes_out_of_bounds_are_refused(void **state) {
        static const uint64_t bad[] = { 0, 1, 15 * MIB, 16 * MIB + 1, OVERLAY_SIZE_MAX + MIB, UINT64_MAX };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_false(overlay_size_is_valid(bad[i]));
                assert_int_equal(overlay_template_new(dir_fd, bad[i]), -EINVAL);
                assert_int_equal(overlay_template_open(dir_fd, bad[i]), -EINVAL);
        }
        assert_true(overlay_size_is_valid(OVERLAY_SIZE_MIN));
        assert_true(overlay_size_is_valid(OVERLAY_SIZE_MAX));
}

static void the_largest_size_is_one_a_file_can_have(void **state) {
        _cleanup_close_ int fd = overlay_template_new(dir_fd, OVERLAY_SIZE_MAX);

        assert_true(fd >= 0);
}

/* Not a bar of its own (the machine is shared), a guard against copying the whole disk; prints the figures. */
static void cloning_takes_milliseconds_whatever_the_size(void **state) {
        static const uint64_t sizes[] = { GIB, 10 * GIB };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_close_ int template = template_of(sizes[i]);
                uint64_t best = UINT64_MAX, sum = 0;

                for (int k = 0; k < 20; k++) {
                        uint64_t begin = now_usec(CLOCK_MONOTONIC), took;
                        int fd = overlay_clone(template, dir_fd, "timed.img");

                        took = now_usec(CLOCK_MONOTONIC) - begin;
                        assert_true(fd >= 0);
                        safe_close(fd);
                        assert_int_equal(unlinkat(dir_fd, "timed.img", 0), 0);
                        best = MIN2(best, took);
                        sum += took;
                }
                print_message("clone of %u GiB: best %u us, mean %u us\n", (unsigned) (sizes[i] / GIB),
                        (unsigned) best, (unsigned) (sum / 20));
                assert_true(best < 100 * USEC_PER_MSEC);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_clone_is_a_clean_file_system_of_the_size_asked_for),
                cmocka_unit_test(a_clone_never_replaces_nor_follows),
                cmocka_unit_test(a_failed_clone_leaves_nothing),
                cmocka_unit_test(an_unpublished_template_is_not_there),
                cmocka_unit_test(without_anonymous_files_a_template_is_published_by_copy),
                cmocka_unit_test(a_template_cut_short_is_refused),
                cmocka_unit_test(growing_leaves_the_file_system_whole),
                cmocka_unit_test(sizes_out_of_bounds_are_refused),
                cmocka_unit_test(the_largest_size_is_one_a_file_can_have),
                cmocka_unit_test(cloning_takes_milliseconds_whatever_the_size),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
