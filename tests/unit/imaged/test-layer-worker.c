/* SPDX-License-Identifier: Apache-2.0 */

/* hero-image-worker over layers, as hero-imaged runs it: hostile ones end soon, with a sentence, and in bounded memory. */

#include <archive.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/layer-merge.h"
#include "imaged/sha256.h"
#include "imaged/worker-protocol.h"
#include "unit/imaged/tar-maker.h"

/* With sanitizers and on a busy machine. What is quadratic takes hours. */
#define SOON (60 * USEC_PER_SEC)

typedef struct Outcome {
        int status;
        WorkerLine last;
        char line[WORKER_LINE_MAX];
        uint32_t n_layers; /* told to be done, in order */
        uint64_t duration;
        uint64_t memory; /* at most resident, bytes */
        off_t size;
} Outcome;

static void digest_of(int fd, char ret[static SHA256_HEX_LENGTH + 1]) {
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        static char buf[1 << 20];
        ssize_t n;

        assert_int_equal(sha256_new(&s), 0);
        for (off_t at = 0; (n = pread(fd, buf, sizeof(buf), at)) > 0; at += n)
                sha256_write(s, buf, (size_t) n);
        sha256_read(s, ret);
}

static char **arguments(const Tar *layers, size_t n, const char *max_entries, const char *max_bytes) {
        char **l = NULL, hex[SHA256_HEX_LENGTH + 1];
        struct stat st;

        assert_int_equal(strv_extend(&l, WORKER), 0);
        assert_int_equal(strv_extend(&l, "layers"), 0);
        assert_int_equal(strv_extend(&l, max_entries), 0);
        assert_int_equal(strv_extend(&l, max_bytes), 0);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(fstat(layers[i].fd, &st), 0);
                digest_of(layers[i].fd, hex);
                assert_int_equal(strv_extendf(&l, "%zu:0:%llu:%s:-", WORKER_LAYERS_FD + i, (unsigned long long) st.st_size, hex), 0);
        }
        return l;
}

static void become_worker(char **argv, const Tar *layers, size_t n, int output, int status) {
        int fds[LAYERS_MAX];

        output = fcntl(output, F_DUPFD, 300);
        status = fcntl(status, F_DUPFD, 300);
        for (size_t i = 0; i < n; i++)
                fds[i] = fcntl(layers[i].fd, F_DUPFD, 300);
        if (dup2(output, WORKER_OUTPUT_FD) < 0 || dup2(status, WORKER_STATUS_FD) < 0)
                _exit(126);
        for (size_t i = 0; i < n; i++)
                if (dup2(fds[i], WORKER_LAYERS_FD + (int) i) < 0)
                        _exit(126);
        if (close_range((unsigned) WORKER_LAYERS_FD + (unsigned) n, ~0u, 0) < 0)
                _exit(126);
        execv(WORKER, argv);
        _exit(127);
}

static void read_lines(int fd, Outcome *o) {
        FILE *f = fdopen(fd, "re");

        assert_non_null(f);
        while (fgets(o->line, sizeof(o->line), f)) {
                o->line[strcspn(o->line, "\n")] = 0;
                assert_int_equal(worker_line_parse(o->line, &o->last), 0);
                if (o->last.type == WORKER_LAYER)
                        assert_int_equal(o->last.entries, o->n_layers++);
        }
        fclose(f);
}

/* Takes the layers over. */
static Outcome run_arguments(char **argv, Tar *layers, size_t n) {
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);
        uint64_t begin = now_usec(CLOCK_MONOTONIC);
        struct rusage usage;
        Outcome o = {};
        struct stat st;
        int fds[2];
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                become_worker(argv, layers, n, output, fds[1]);
        safe_close(fds[1]);
        read_lines(fds[0], &o);
        assert_int_equal(wait4(pid, &o.status, 0, &usage), pid);
        o.memory = (uint64_t) usage.ru_maxrss * 1024;
        o.duration = now_usec(CLOCK_MONOTONIC) - begin;
        assert_int_equal(fstat(output, &st), 0);
        o.size = st.st_size;
        for (size_t i = 0; i < n; i++)
                layers[i].fd = safe_close(layers[i].fd);
        return o;
}

static Outcome run(Tar *layers, size_t n, const char *max_entries, const char *max_bytes) {
        _cleanup_strv_free_ char **argv = arguments(layers, n, max_entries, max_bytes);

        return run_arguments(argv, layers, n);
}

static void expect_done(Outcome o, uint32_t entries, uint32_t layers) {
        if (o.status != 0 || o.last.type != WORKER_DONE)
                fail_msg("status %d: %s", o.status, o.line);
        assert_int_equal(o.last.entries, entries);
        assert_int_equal(o.n_layers, layers);
        assert_true(o.duration < SOON);
}

static void expect_error(Outcome o, int error, const char *part) {
        assert_true(WIFEXITED(o.status));
        if (o.last.type != WORKER_ERROR || o.last.error != error || !strstr(o.line, part))
                fail_msg("%d \"%s\" was expected: %s", error, part, o.line);
        assert_true(o.duration < SOON);
}

static void put_numbered(Tar *t, const char *format, unsigned i, char type) {
        char name[100];

        (void) snprintf(name, sizeof(name), format, i);
        put_entry(t, name, type, NULL, NULL, 0);
}

static void as_many_layers_as_an_image_may_have(void **state) {
        Tar layers[LAYERS_MAX];

        for (unsigned i = 0; i < LAYERS_MAX; i++) {
                layers[i] = tar_new();
                put_numbered(&layers[i], "f%u", i, '0');
                if (i > 0)
                        put_numbered(&layers[i], ".wh.f%u", i - 1, '0');
                put_end(&layers[i]);
        }
        expect_done(run(layers, LAYERS_MAX, "1000", "1000"), 2, LAYERS_MAX);
}

static void a_layer_that_is_another_is_named(void **state) {
        _cleanup_strv_free_ char **argv = NULL;
        Tar layers[2] = { tar_new(), tar_new() };

        put_file(&layers[0], "a", "x");
        put_end(&layers[0]);
        put_file(&layers[1], "b", "x");
        put_end(&layers[1]);
        argv = arguments(layers, 2, "10", "10");
        assert_int_equal(pwrite(layers[1].fd, "y", 1, 512), 1);
        expect_error(run_arguments(argv, layers, 2), EBADMSG, "Layer 2: The blob is not the one that its digest names.");
}

static void a_layer_cut_short_is_named(void **state) {
        _cleanup_strv_free_ char **argv = NULL;
        Tar t = tar_new();

        put_file(&t, "a", "x");
        put_end(&t);
        argv = arguments(&t, 1, "10", "10");
        assert_int_equal(ftruncate(t.fd, 700), 0);
        expect_error(run_arguments(argv, &t, 1), EBADMSG, "Layer 1: The blob is shorter than it is said to be: it was cut short.");
}

/* A gigabyte and a half of zeros in a megabyte and a half, in files that are small enough each. */
static void a_bomb_of_a_thousand_to_one_is_refused(void **state) {
        Tar t = tar_new();
        off_t end;

        for (unsigned i = 0; i < 3; i++) {
                char name[] = { (char) ('a' + i), 0 };
                Header h = header(name, '0', 512 << 20);

                put_header(&t, &h);
                end = lseek(t.fd, 512 << 20, SEEK_CUR);
                assert_true(end > 0);
        }
        put_end(&t);
        t = compressed(&t, ARCHIVE_FILTER_ZSTD);
        expect_error(run(&t, 1, "10", "1073741824"), EDQUOT, "The archive holds more than 1073741824 bytes of file contents.");
}

/* Not in any file: between the end of the archive and that of the blob. */
static void a_bomb_behind_the_archive_is_refused(void **state) {
        Tar t = tar_new();

        put_file(&t, "f", "x");
        put_end(&t);
        assert_int_equal(ftruncate(t.fd, 200 << 20), 0);
        t = compressed(&t, ARCHIVE_FILTER_GZIP);
        expect_error(run(&t, 1, "10", "100"), EBADMSG, "Layer 1: The archive is followed by something else.");
}

/* Contents that nobody wants to see are read past all the same. */
static void a_bomb_in_what_is_only_read_past_is_refused(void **state) {
        const uint64_t size = UINT64_C(1) << 30;
        Header h = header(".wh.gone", '0', size);
        Tar t = tar_new();
        struct stat st;

        put_header(&t, &h);
        assert_int_equal(ftruncate(t.fd, (off_t) (512 + size + 1024)), 0);
        t = compressed(&t, ARCHIVE_FILTER_ZSTD);
        assert_int_equal(fstat(t.fd, &st), 0);
        assert_true(st.st_size < (1 << 20));
        expect_error(run(&t, 1, "100", "1000"), EDQUOT, "The archive holds more than all the files of an image may have.");
}

static void a_million_entries_over_several_layers_are_refused(void **state) {
        Tar layers[4];

        for (unsigned k = 0; k < ELEMENTSOF(layers); k++) {
                layers[k] = tar_new();
                for (unsigned i = 0; i < 50000; i++)
                        put_numbered(&layers[k], "f%u", i, '0');
                put_end(&layers[k]);
        }
        expect_error(run(layers, ELEMENTSOF(layers), "150000", "100"), EDQUOT, "The archive holds more than 150000 entries.");
}

/* Each could go through all that is in a large directory, dead or alive. */
static void whiteouts_again_and_again_cost_little(void **state) {
        Tar layers[2] = { tar_new(), tar_new() };

        for (unsigned i = 0; i < 50000; i++)
                put_numbered(&layers[0], "d/lower%u", i, '0');
        for (unsigned i = 0; i < 20000; i++)
                put_numbered(&layers[1], "d/upper%u", i, '0');
        for (unsigned i = 0; i < 20000; i++) {
                put_file(&layers[1], "d/.wh..wh..opq", "");
                put_file(&layers[1], ".wh.d", "");
        }
        for (unsigned k = 0; k < 2; k++)
                put_end(&layers[k]);
        expect_done(run(layers, 2, "1000000", "100"), 20002, 2);
}

/* A directory of links into itself, as deep as they go, for each of many entries. */
static void symbolic_links_cost_little(void **state) {
        Tar layers[2] = { tar_new(), tar_new() };
        char name[100], target[100];

        for (unsigned i = 0; i < 39; i++) {
                (void) snprintf(name, sizeof(name), "l%u", i);
                (void) snprintf(target, sizeof(target), "./.././../l%u/.//", i + 1);
                put_entry(&layers[0], name, '2', target, NULL, 0);
        }
        put_entry(&layers[0], "l39", '5', NULL, NULL, 0);
        for (unsigned i = 0; i < 20000; i++)
                put_numbered(&layers[1], "l0/%u", i, '0');
        for (unsigned k = 0; k < 2; k++)
                put_end(&layers[k]);
        expect_done(run(layers, 2, "1000000", "100"), 20041, 2);
}

/* 200,000 files in five layers; format has the numbers of their directory, that below it and their own. */
static Outcome run_with_files(const char *format, uint32_t entries) {
        Tar layers[5];
        Outcome o;

        for (unsigned k = 0; k < ELEMENTSOF(layers); k++) {
                layers[k] = tar_new();
                for (unsigned i = 0; i < 40000; i++) {
                        char name[100], text[700];
                        unsigned n = k * 40000 + i;

                        (void) snprintf(name, sizeof(name), format, n / 2000, n / 40, n);
                        memset(text, 'a' + (int) (n % 26), sizeof(text));
                        put_entry(&layers[k], name, '0', NULL, text, sizeof(text));
                }
                put_end(&layers[k]);
                layers[k] = compressed(&layers[k], k % 2 ? ARCHIVE_FILTER_ZSTD : ARCHIVE_FILTER_GZIP);
        }
        o = run(layers, ELEMENTSOF(layers), "1000000", "68719476736");
        expect_done(o, entries, ELEMENTSOF(layers));
        return o;
}

/* The bound of issue 3; names as long as those of real packages. */
static void an_image_of_200000_entries_needs_64_megabytes(void **state) {
        Outcome o;

#ifdef __SANITIZE_ADDRESS__
        skip();
#endif
        o = run_with_files("usr/lib/python3/package-%u/module-%u/a-file-name-%u.py", 205104);
        if (o.memory > UINT64_C(64) << 20)
                fail_msg("%llu bytes", (unsigned long long) o.memory);
}

/* Nor does it need more when a directory cannot be written before all of them are there. */
static void an_image_of_200000_entries_in_one_directory_needs_64_megabytes(void **state) {
        Outcome o;

#ifdef __SANITIZE_ADDRESS__
        skip();
#endif
        o = run_with_files("var/cache/package-%u-module-%u-and-a-file-name-of-some-length-%u.py", 200003);
        if (o.memory > UINT64_C(64) << 20)
                fail_msg("%llu bytes", (unsigned long long) o.memory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(as_many_layers_as_an_image_may_have),
                cmocka_unit_test(a_layer_that_is_another_is_named),
                cmocka_unit_test(a_layer_cut_short_is_named),
                cmocka_unit_test(a_bomb_of_a_thousand_to_one_is_refused),
                cmocka_unit_test(a_bomb_behind_the_archive_is_refused),
                cmocka_unit_test(a_bomb_in_what_is_only_read_past_is_refused),
                cmocka_unit_test(a_million_entries_over_several_layers_are_refused),
                cmocka_unit_test(whiteouts_again_and_again_cost_little),
                cmocka_unit_test(symbolic_links_cost_little),
                cmocka_unit_test(an_image_of_200000_entries_needs_64_megabytes),
                cmocka_unit_test(an_image_of_200000_entries_in_one_directory_needs_64_megabytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
