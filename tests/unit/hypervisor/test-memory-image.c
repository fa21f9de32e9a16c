/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/memory-image.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "hypervisor/memory-image-format.h"
#include "shared/program-path.h"

#define PAGE IMAGE_PAGE
#define MIB (UINT64_C(1) << 20)
#define NAME MEMORY_IMAGE_NAME
#define ID "0123456789ab"
#define VERSION "QEMU 7.2.19 (Debian 1:7.2+dfsg-7)"
#define STATE "what the devices are"

static char directory[] = "/var/tmp/hero-test-XXXXXX";
static int dir_fd = -EBADF;

static int new_memfd(uint64_t size) {
        int fd = memfd_create("test", MFD_CLOEXEC);

        assert_return_code(fd, errno);
        assert_return_code(ftruncate(fd, (off_t) size), errno);
        return fd;
}

static int new_state(void) {
        int fd = new_memfd(0);

        assert_return_code(write_all(fd, STATE, strlen(STATE)), 0);
        return fd;
}

static void fill(int fd, uint64_t at, uint64_t size, unsigned seed) {
        _cleanup_free_ uint32_t *p = malloc(size);

        assert_non_null(p);
        for (uint64_t i = 0; i < size / sizeof(*p); i++)
                p[i] = seed = seed * 1664525u + 1013904223u;
        assert_int_equal(pwrite(fd, p, size, (off_t) at), size);
}

/* Everything a memory can have: a hole at its beginning, in its middle and at its end, single pages, many, zeros that
 * are written, and a last block that is none. */
static int sample_memory(void) {
        static const uint8_t zeros[64 * PAGE];
        int fd = new_memfd(7 * MIB + 5 * PAGE);

        fill(fd, 1 * MIB + 3 * PAGE, PAGE, 1);
        fill(fd, 1 * MIB + 5 * PAGE, 70 * PAGE, 2);
        fill(fd, 3 * MIB - PAGE, MIB + 2 * PAGE, 3);
        assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 3 * MIB + 10 * PAGE), sizeof(zeros));
        assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 5 * MIB), sizeof(zeros));
        fill(fd, 7 * MIB + 4 * PAGE, PAGE, 4);
        return fd;
}

static int try_write(int memory_fd, int to_fd, char **ret_why) {
        _cleanup_close_ int state = new_state();
        const MemoryImageSource source = {
                .memory_fd = memory_fd,
                .state_fd = state,
                .id = ID,
                .vmm = "qemu",
                .version = VERSION,
        };

        return memory_image_write(&source, to_fd, NAME, NULL, ret_why);
}

static int write_and_open(int memory_fd) {
        _cleanup_free_ char *why = NULL;
        int fd, r;

        r = try_write(memory_fd, dir_fd, &why);
        if (r != 0)
                fail_msg("%s (%d)", strna(why), r);
        fd = openat(dir_fd, NAME, O_RDWR | O_CLOEXEC);
        assert_return_code(fd, errno);
        return fd;
}

static uint64_t size_of(int fd) {
        struct stat st;

        assert_return_code(fstat(fd, &st), errno);
        return (uint64_t) st.st_size;
}

static uint64_t used_of(int fd) {
        struct stat st;

        assert_return_code(fstat(fd, &st), errno);
        return (uint64_t) st.st_blocks * 512;
}

static void assert_same(int a, int b) {
        _cleanup_free_ char *p = NULL, *q = NULL;
        size_t m, n;

        assert_return_code(lseek(a, 0, SEEK_SET), errno);
        assert_return_code(lseek(b, 0, SEEK_SET), errno);
        assert_return_code(read_full_fd(a, 1u << 30, &p, &m), 0);
        assert_return_code(read_full_fd(b, 1u << 30, &q, &n), 0);
        assert_int_equal(m, n);
        assert_true(memcmp(p, q, m) == 0);
}

static unsigned n_files(int fd) {
        _cleanup_closedir_ DIR *d = NULL;
        unsigned n = 0;

        assert_return_code(open_directory_stream(fd, ".", &d), 0);
        while (readdir(d))
                n++;
        return n - 2;
}

/* What load says of the file; *ret_why may be looked at. */
static int try_load(int image_fd, uint64_t size, char **ret_why) {
        _cleanup_close_ int memory = new_memfd(size);

        return memory_image_load(image_fd, memory, ret_why);
}

static void a_memory_comes_back_as_it_was(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = -EBADF, again = new_memfd(size_of(memory)), devices = -EBADF;
        _cleanup_free_ char *why = NULL, *text = NULL;
        MemoryImage header;
        struct stat st;

        image = write_and_open(memory);
        assert_return_code(fstat(image, &st), errno);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        assert_int_equal(st.st_nlink, 1);
        assert_int_equal(n_files(dir_fd), 1);

        assert_int_equal(memory_image_read_header(image, &header, &why), 0);
        assert_int_equal(header.memory_size, size_of(memory));
        assert_int_equal(header.stored_size, (1 + 70 + 256 + 2 - 64 + 1) * PAGE);
        assert_int_equal(header.file_size, size_of(image));
        assert_int_equal(header.state_size, strlen(STATE));
        assert_string_equal(header.id, ID);
        assert_string_equal(header.vmm, "qemu");
        assert_string_equal(header.version, VERSION);
        assert_true(header.created_usec > 0);

        assert_int_equal(memory_image_read_state(image, &devices, &why), 0);
        assert_int_equal(lseek(devices, 0, SEEK_CUR), 0);
        assert_return_code(read_full_fd(devices, 4096, &text, NULL), 0);
        assert_string_equal(text, STATE);

        assert_int_equal(memory_image_load(image, again, &why), 0);
        assert_int_equal(used_of(again), header.stored_size);
        assert_same(memory, again);
}

static void memories_of_all_shapes(void **state) {
        static const uint64_t sizes[] = { PAGE, 2 * PAGE, MIB - PAGE, MIB, MIB + PAGE, 128 * MIB };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                for (unsigned full = 0; full < 3; full++) {
                        _cleanup_close_ int memory = new_memfd(sizes[i]), image = -EBADF, again = new_memfd(sizes[i]);
                        _cleanup_free_ char *why = NULL;

                        if (full == 1)
                                fill(memory, sizes[i] - PAGE, PAGE, 1);
                        if (full == 2)
                                fill(memory, 0, MIN2(sizes[i], 3 * MIB), 1);
                        image = write_and_open(memory);
                        assert_int_equal(memory_image_load(image, again, &why), 0);
                        assert_same(memory, again);
                }
}

static void a_hole_stays_a_hole_of_the_source(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = -EBADF;
        uint64_t before = used_of(memory);

        image = write_and_open(memory);
        assert_int_equal(used_of(memory), before);
}

static void an_older_image_is_replaced(void **state) {
        _cleanup_close_ int first = new_memfd(MIB), second = sample_memory(), image = -EBADF, again = new_memfd(size_of(second));
        _cleanup_free_ char *why = NULL;

        safe_close(write_and_open(first));
        image = write_and_open(second);
        assert_int_equal(memory_image_load(image, again, &why), 0);
        assert_same(second, again);
        assert_int_equal(n_files(dir_fd), 1);
}

static void whose_it_is(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        _cleanup_free_ char *why = NULL, *other = NULL;
        MemoryImage header;

        assert_int_equal(memory_image_read_header(image, &header, &why), 0);
        assert_int_equal(memory_image_check(&header, ID, "qemu", VERSION, size_of(memory), &why), 0);
        assert_int_equal(memory_image_check(&header, NULL, NULL, NULL, 0, &why), 0);
        assert_int_equal(memory_image_check(&header, ID, "qemu", "QEMU 9.1.0", 0, &other), -ESTALE);
        assert_string_equal(other, "The hibernation image was written by " VERSION ", and this is QEMU 9.1.0.");
        assert_int_equal(memory_image_check(&header, "ba9876543210", NULL, NULL, 0, &why), -ESTALE);
        free(why);
        assert_int_equal(memory_image_check(&header, ID, "mock", NULL, 0, &why), -ESTALE);
        free(why);
        assert_int_equal(memory_image_check(&header, ID, NULL, NULL, MIB, &why), -ESTALE);
}

static void a_file_that_was_cut_is_refused(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        uint64_t state_at = PAGE, map_at = 2 * PAGE, data_at = 3 * PAGE, size = size_of(image);
        const uint64_t cuts[] = {
                size + PAGE, size + 1, size - 1, size - PAGE, data_at + PAGE + 1, data_at, data_at - 1, map_at + 1, map_at,
                state_at + 1, state_at, state_at - 1, 100, 1, 0,
        };

        for (size_t i = 0; i < ELEMENTSOF(cuts); i++) {
                _cleanup_free_ char *why = NULL, *of_load = NULL;
                MemoryImage header;
                int r, fd;

                assert_return_code(ftruncate(image, (off_t) cuts[i]), errno);
                r = memory_image_read_header(image, &header, &why);
                assert_int_equal(r, -EBADMSG);
                assert_non_null(strstr(why, cuts[i] >= PAGE ? "is torn: it has" : "the file ends at byte"));
                assert_int_equal(try_load(image, size_of(memory), &of_load), -EBADMSG);
                assert_string_equal(why, of_load);
                free(of_load);
                assert_int_equal(memory_image_read_state(image, &fd, &of_load), -EBADMSG);
        }
}

/* As a crash leaves it where the file system had the size before the contents. */
static void a_file_with_zeros_in_it_is_refused(void **state) {
        _cleanup_close_ int memory = sample_memory();
        _cleanup_free_ char *why = NULL;

        for (uint64_t at = 0; at < 24 * PAGE; at += PAGE) {
                _cleanup_close_ int image = write_and_open(memory);

                assert_return_code(fallocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) at, PAGE), errno);
                if (at == PAGE) { /* the devices: not for the memory's loader */
                        int fd;

                        assert_int_equal(memory_image_read_state(image, &fd, &why), -EBADMSG);
                        assert_string_equal(why, "The hibernation image was altered: the devices.");
                } else
                        assert_int_equal(try_load(image, size_of(memory), &why), -EBADMSG);
                why = mfree(why);
        }
}

static void a_flipped_bit_anywhere_is_noticed(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        uint64_t size = size_of(image);

        for (uint64_t i = 0, at = 0; at < size; i++, at += at < 4 * PAGE ? 37 : 8191) {
                _cleanup_free_ char *why = NULL, *of_state = NULL;
                uint8_t byte, other;
                int fd = -EBADF, a, b;

                assert_int_equal(pread(image, &byte, 1, (off_t) at), 1);
                other = byte ^ (uint8_t) (1u << i % 8);
                assert_int_equal(pwrite(image, &other, 1, (off_t) at), 1);
                a = try_load(image, size_of(memory), &why);
                b = memory_image_read_state(image, &fd, &of_state);
                if ((a == 0 && b == 0) || (a < 0 && !why) || (b < 0 && !of_state))
                        fail_msg("bit %" PRIu64 " of byte %" PRIu64 ": %d, %d", i % 8, at, a, b);
                safe_close(fd);
                assert_int_equal(pwrite(image, &byte, 1, (off_t) at), 1);
        }
}

/* A header that is whole, and says what cannot be. */
static void set_header(int image, const ImageHeader *h) {
        ImageHeader copy = *h;

        copy.hash = image_header_hash(&copy);
        assert_int_equal(pwrite(image, &copy, sizeof(copy), 0), sizeof(copy));
}

static void check_header(int image, const ImageHeader *h, int error, const char *text) {
        _cleanup_free_ char *why = NULL;
        MemoryImage header;

        set_header(image, h);
        assert_int_equal(memory_image_read_header(image, &header, &why), error);
        if (!strstr(why, text))
                fail_msg("\"%s\" is not in: %s", text, why);
}

static void a_header_is_not_believed(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        ImageHeader good, h;

        assert_int_equal(pread(image, &good, sizeof(good), 0), sizeof(good));
        h = good;
        h.magic[0] = 'x';
        check_header(image, &h, -EBADMSG, "is no hibernation image");
        h = good;
        h.format++;
        check_header(image, &h, -EPROTONOSUPPORT, "has format 2, known here is 1");
        h = good;
        h.page_size = 16384;
        check_header(image, &h, -EBADMSG, "which cannot be");
        for (uint64_t bad = 0; bad < 4; bad++) {
                h = good;
                h.memory_size = (uint64_t[]) { 0, PAGE + 1, UINT64_MAX - PAGE + 1, IMAGE_MEMORY_MAX + PAGE }[bad];
                check_header(image, &h, -EBADMSG, "which cannot be");
        }
        h = good;
        h.memory_size = IMAGE_MEMORY_MAX;
        check_header(image, &h, -EBADMSG, "is torn");
        h = good;
        h.state_size = UINT64_MAX;
        check_header(image, &h, -EBADMSG, "which is too much");
        h = good;
        h.n_pages = UINT64_MAX;
        check_header(image, &h, -EBADMSG, "more pages than the memory");
        h = good;
        memset(h.version, 'x', sizeof(h.version));
        check_header(image, &h, -EBADMSG, "does not say whose");
        h = good;
        memcpy(h.id, "\033[31m", 6);
        check_header(image, &h, -EBADMSG, "does not say whose");
}

static void a_map_is_not_believed(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        _cleanup_free_ char *first = NULL, *second = NULL;
        uint8_t page[PAGE];
        ImageBlock *map = (ImageBlock *) page;
        ImageHeader h;

        assert_int_equal(pread(image, &h, sizeof(h), 0), sizeof(h));
        assert_int_equal(pread(image, page, sizeof(page), 2 * PAGE), sizeof(page));
        /* A page beyond the end of the memory in place of the last one. */
        assert_true(image_block_has(map + 7, 4));
        map[7].pages[0] = 1u << 5;
        assert_int_equal(pwrite(image, page, sizeof(page), 2 * PAGE), sizeof(page));
        h.map_hash = image_hash(page, sizeof(page));
        set_header(image, &h);
        assert_int_equal(try_load(image, size_of(memory), &first), -EBADMSG);
        assert_string_equal(first, "The map of the hibernation image names pages beyond the memory.");
        /* More pages than there are. */
        map[7].pages[0] = 3u << 3;
        assert_int_equal(pwrite(image, page, sizeof(page), 2 * PAGE), sizeof(page));
        h.map_hash = image_hash(page, sizeof(page));
        set_header(image, &h);
        assert_int_equal(try_load(image, size_of(memory), &second), -EBADMSG);
        assert_string_equal(second, "The map of the hibernation image contradicts its header.");
}

static void a_foreign_file_is_refused(void **state) {
        _cleanup_close_ int fd = new_memfd(MIB), directory_fd = open("/", O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *why = NULL, *other = NULL;
        MemoryImage header;

        fill(fd, 0, MIB, 9);
        assert_int_equal(memory_image_read_header(fd, &header, &why), -EBADMSG);
        assert_string_equal(why, "The file is no hibernation image.");
        assert_true(memory_image_read_header(directory_fd, &header, &other) < 0);
        assert_non_null(other);
}

static void only_a_new_memory_of_its_size_is_filled(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        _cleanup_free_ char *why = NULL, *other = NULL;

        assert_int_equal(try_load(image, size_of(memory) + PAGE, &why), -EINVAL);
        assert_int_equal(memory_image_check_new(memory, &other), -EINVAL);
}

static void what_cannot_be_written_is_refused(void **state) {
        _cleanup_close_ int odd = new_memfd(PAGE + 1), empty = new_memfd(0);
        _cleanup_free_ char *why = NULL, *other = NULL;

        assert_int_equal(try_write(odd, dir_fd, &why), -EINVAL);
        assert_int_equal(try_write(empty, dir_fd, &other), -EINVAL);
        assert_int_equal(n_files(dir_fd), 0);
}

static void the_space_it_will_need_is_known_in_advance(void **state) {
        _cleanup_close_ int memory = sample_memory(), image = write_and_open(memory);
        uint64_t needed;

        assert_int_equal(memory_image_space_needed(memory, &needed), 0);
        assert_true(needed >= size_of(image));
        assert_true(needed <= size_of(image) + 2 * MIB);
        assert_int_equal(memory_image_space_needed(dir_fd, &needed), -EINVAL);
}

/* A file system of one MiB, mounted nowhere. */
static int small_file_system(void) {
        _cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        int fd;

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "1M", 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                skip();
        fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
        if (fd < 0)
                skip();
        return fd;
}

static void without_room_it_says_so_at_once(void **state) {
        _cleanup_close_ int memory = sample_memory(), fd = small_file_system(), file = -EBADF;
        _cleanup_free_ char *why = NULL, *advance = NULL, *none = NULL;

        assert_int_equal(memory_image_check_room(memory, fd, &advance), -ENOSPC);
        assert_string_equal(advance, "There is no room for the hibernation image, which needs 3 MiB of the 1 MiB that are free.");
        assert_int_equal(memory_image_check_room(memory, dir_fd, &none), 0);
        assert_int_equal(try_write(memory, fd, &why), -ENOSPC);
        assert_string_equal(why, "There is no room for the hibernation image, which needs 2 MiB.");
        assert_int_equal(n_files(fd), 0);
        /* Nothing is left that would hold it. */
        file = openat(fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_return_code(fallocate(file, 0, 0, 900 << 10), errno);
}

static void one_that_is_cancelled_leaves_nothing(void **state) {
        _cleanup_close_ int memory = sample_memory(), devices = new_state();
        const MemoryImageSource source = { memory, devices, ID, "qemu", VERSION };
        static const volatile sig_atomic_t cancelled = true;
        _cleanup_free_ char *why = NULL;

        assert_int_equal(memory_image_write(&source, dir_fd, NAME, &cancelled, &why), -ECANCELED);
        assert_int_equal(n_files(dir_fd), 0);
}

/* hero-hibernate with these as 3, 4, 5; *ret_out is where it writes to. */
static pid_t start_program(int memory_fd, int state_fd, int to_fd, int *ret_out) {
        _cleanup_free_ char *path = program_path(MEMORY_IMAGE_CHILD);
        int out[2];
        pid_t pid;

        assert_return_code(pipe2(out, O_CLOEXEC), errno);
        pid = fork();
        if (pid == 0) {
                int fds[] = { memory_fd, state_fd, to_fd };

                for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 100);
                for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                        (void) dup2(fds[i], 3 + (int) i);
                (void) dup2(out[1], STDOUT_FILENO);
                (void) execl(path, path, NAME, ID, "qemu", VERSION, NULL);
                _exit(99);
        }
        close(out[1]);
        *ret_out = out[0];
        return pid;
}

static int end_of(pid_t pid, int out, char **ret_text) {
        int status;

        assert_return_code(read_full_fd(out, 4096, ret_text, NULL), 0);
        close(out);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void the_program_writes_one(void **state) {
        _cleanup_close_ int memory = sample_memory(), devices = new_state(), image = -EBADF, again = new_memfd(size_of(memory));
        _cleanup_free_ char *text = NULL, *why = NULL;
        int out;
        pid_t pid;

        pid = start_program(memory, devices, dir_fd, &out);
        assert_int_equal(end_of(pid, out, &text), 0);
        assert_string_equal(text, "");
        image = openat(dir_fd, NAME, O_RDONLY | O_CLOEXEC);
        assert_int_equal(memory_image_load(image, again, &why), 0);
        assert_same(memory, again);
}

static void the_program_says_what_is_wrong(void **state) {
        _cleanup_close_ int memory = sample_memory(), devices = new_state(), fd = small_file_system();
        _cleanup_free_ char *text = NULL;
        int out;
        pid_t pid;

        pid = start_program(memory, devices, fd, &out);
        assert_int_equal(end_of(pid, out, &text), ENOSPC);
        assert_string_equal(text, "There is no room for the hibernation image, which needs 2 MiB.\n");
}

/* Wherever it is when the signal comes. */
static void the_program_ends_when_told_and_leaves_nothing(void **state) {
        _cleanup_close_ int memory = new_memfd(128 * MIB), devices = new_state();

        for (unsigned i = 0; i < 128; i++)
                fill(memory, i * MIB, MIB, i);
        for (int msec = 0; msec < 120; msec += 15) {
                _cleanup_free_ char *text = NULL;
                int out, status;
                pid_t pid;

                pid = start_program(memory, devices, dir_fd, &out);
                (void) poll(NULL, 0, msec);
                assert_return_code(kill(pid, SIGTERM), errno);
                status = end_of(pid, out, &text);
                if (status == 0) /* too late: then it is whole */
                        assert_return_code(unlinkat(dir_fd, NAME, 0), errno);
                else
                        assert_true(status == ECANCELED || status == 128 + SIGTERM);
                assert_int_equal(n_files(dir_fd), 0);
        }
}

static int make_directory(void **state) {
        strcpy(directory + strlen(directory) - 6, "XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        dir_fd = open_directory_at(AT_FDCWD, directory, 0, false);
        return dir_fd < 0 ? -1 : 0;
}

static int remove_directory(void **state) {
        dir_fd = safe_close(dir_fd);
        return remove_tree_at(AT_FDCWD, directory) < 0 ? -1 : 0;
}

#define image_test(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void) {
        static const struct CMUnitTest tests[] = {
                image_test(a_memory_comes_back_as_it_was),
                image_test(memories_of_all_shapes),
                image_test(a_hole_stays_a_hole_of_the_source),
                image_test(an_older_image_is_replaced),
                image_test(whose_it_is),
                image_test(a_file_that_was_cut_is_refused),
                image_test(a_file_with_zeros_in_it_is_refused),
                image_test(a_flipped_bit_anywhere_is_noticed),
                image_test(a_header_is_not_believed),
                image_test(a_map_is_not_believed),
                image_test(a_foreign_file_is_refused),
                image_test(only_a_new_memory_of_its_size_is_filled),
                image_test(what_cannot_be_written_is_refused),
                image_test(the_space_it_will_need_is_known_in_advance),
                image_test(without_room_it_says_so_at_once),
                image_test(one_that_is_cancelled_leaves_nothing),
                image_test(the_program_writes_one),
                image_test(the_program_says_what_is_wrong),
                image_test(the_program_ends_when_told_and_leaves_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
