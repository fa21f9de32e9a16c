/* SPDX-License-Identifier: Apache-2.0 */

/* hero-image-worker as hero-imaged runs it, fed with what nobody should feed it: each with its own sentence, and
 * nothing left behind. */

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/worker-protocol.h"
#include "imaged/worker-sandbox.h"

/* An archive in the making. */
typedef struct Tar {
        int fd;
} Tar;

typedef struct Header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2],
                uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
} Header;

static Tar tar_new(void) {
        Tar t = { .fd = memfd_create("tar", MFD_CLOEXEC) };

        assert_true(t.fd >= 0);
        return t;
}

static void put(Tar *t, const void *p, size_t n) {
        assert_int_equal(write_all(t->fd, p, n), 0);
}

static void put_padded(Tar *t, const void *p, size_t n) {
        static const char zeros[512];

        put(t, p, n);
        if (n % 512)
                put(t, zeros, 512 - n % 512);
}

static Header header(const char *name, char type, uint64_t size) {
        Header h = {};

        _Static_assert(sizeof(Header) == 512, "a tar block");
        memcpy(h.name, name, strnlen(name, sizeof(h.name)));
        memcpy(h.magic, "ustar", 6);
        memcpy(h.version, "00", 2);
        (void) snprintf(h.mode, sizeof(h.mode), "%07o", type == '5' ? 0755u : 0644u);
        (void) snprintf(h.uid, sizeof(h.uid), "%07o", 0u);
        (void) snprintf(h.gid, sizeof(h.gid), "%07o", 0u);
        (void) snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long) size);
        (void) snprintf(h.mtime, sizeof(h.mtime), "%011o", 1u);
        h.type = type;
        return h;
}

static void seal_header(Header *h) {
        unsigned sum = 0;

        memset(h->checksum, ' ', sizeof(h->checksum));
        for (size_t i = 0; i < sizeof(*h); i++)
                sum += ((unsigned char *) h)[i];
        (void) snprintf(h->checksum, sizeof(h->checksum), "%06o", sum);
}

static void put_header(Tar *t, Header *h) {
        seal_header(h);
        put(t, h, sizeof(*h));
}

static void put_entry(Tar *t, const char *name, char type, const char *link, const void *data, size_t size) {
        Header h = header(name, type, size);

        if (link)
                memcpy(h.link, link, strnlen(link, sizeof(h.link)));
        put_header(t, &h);
        if (size > 0)
                put_padded(t, data, size);
}

static void put_file(Tar *t, const char *name, const char *text) {
        put_entry(t, name, '0', NULL, text, strlen(text));
}

/* One record of a pax header: "LENGTH KEY=VALUE\n", the length counting itself. */
static size_t pax_record(char *buf, const char *key, const void *value, size_t size) {
        size_t rest = strlen(key) + size + 3, n = rest;

        /* Until the number of digits of the length no longer changes it. */
        while (n != rest + (size_t) snprintf(NULL, 0, "%zu", n))
                n = rest + (size_t) snprintf(NULL, 0, "%zu", n);
        (void) sprintf(buf, "%zu %s=", n, key);
        memcpy(buf + n - size - 1, value, size);
        buf[n - 1] = '\n';
        return n;
}

static void put_pax(Tar *t, const char *key, const void *value, size_t size) {
        _cleanup_free_ char *buf = new(char, size + strlen(key) + 64);

        assert_non_null(buf);
        put_entry(t, "pax", 'x', NULL, buf, pax_record(buf, key, value, size));
}

static void put_end(Tar *t) {
        static const char zeros[1024];

        put(t, zeros, sizeof(zeros));
}

typedef struct Outcome {
        int status; /* as waitpid() gives it */
        WorkerLine last;
        char line[WORKER_LINE_MAX];
        off_t size;
} Outcome;

static pid_t start_worker(int input, int output, int status, const char *max_entries, const char *max_bytes) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        input = fcntl(input, F_DUPFD, 16);
        output = fcntl(output, F_DUPFD, 16);
        status = fcntl(status, F_DUPFD, 16);
        if (dup2(input, WORKER_INPUT_FD) < 0 || dup2(output, WORKER_OUTPUT_FD) < 0 || dup2(status, WORKER_STATUS_FD) < 0 ||
            close_range(WORKER_STATUS_FD + 1, ~0u, 0) < 0)
                _exit(126);
        execl(WORKER, WORKER, "tar", max_entries, max_bytes, NULL);
        _exit(127);
}

static Outcome run_limited(int input, int output, const char *max_entries, const char *max_bytes) {
        _cleanup_close_ int read_end = -EBADF;
        Outcome o = {};
        struct stat st;
        int fds[2];
        FILE *f;
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = start_worker(input, output, fds[1], max_entries, max_bytes);
        safe_close(fds[1]);
        f = fdopen(fds[0], "re");
        assert_non_null(f);
        while (fgets(o.line, sizeof(o.line), f)) {
                o.line[strcspn(o.line, "\n")] = 0;
                assert_int_equal(worker_line_parse(o.line, &o.last), 0);
        }
        fclose(f);
        assert_int_equal(waitpid(pid, &o.status, 0), pid);
        o.size = fstat(output, &st) >= 0 ? st.st_size : 0;
        return o;
}

static Outcome run_fd(int input) {
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);

        assert_true(output >= 0);
        return run_limited(input, output, "100000", "1073741824");
}

/* Takes the archive over. */
static Outcome run_tar(Tar *t) {
        Outcome o;

        assert_int_equal(lseek(t->fd, 0, SEEK_SET), 0);
        o = run_fd(t->fd);
        t->fd = safe_close(t->fd);
        return o;
}

static void expect_done(Outcome o, uint32_t entries) {
        if (o.status != 0 || o.last.type != WORKER_DONE)
                fail_msg("status %d: %s", o.status, o.line);
        assert_int_equal(o.last.entries, entries);
        assert_true(o.size >= 4096);
        assert_int_equal(o.size % 4096, 0);
}

static void expect_error(Outcome o, int error, const char *part) {
        assert_true(WIFEXITED(o.status));
        assert_int_equal(WEXITSTATUS(o.status), EXIT_FAILURE);
        assert_int_equal(o.last.type, WORKER_ERROR);
        if (o.last.error != error || !strstr(o.line, part))
                fail_msg("%d \"%s\" was expected: %s", error, part, o.line);
}

/* A tar compressed by libarchive's filter. */
static Tar compressed(Tar *t, int filter) {
        struct archive *a = archive_write_new();
        struct archive_entry *e;
        Tar c = tar_new();
        char buf[65536];
        ssize_t n;

        assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
        assert_int_equal(archive_write_add_filter(a, filter), ARCHIVE_OK);
        assert_int_equal(archive_write_open_fd(a, c.fd), ARCHIVE_OK);
        e = archive_entry_new();
        archive_entry_set_filetype(e, S_IFREG);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        archive_entry_free(e);
        assert_int_equal(lseek(t->fd, 0, SEEK_SET), 0);
        while ((n = read(t->fd, buf, sizeof(buf))) > 0)
                assert_int_equal(archive_write_data(a, buf, (size_t) n), n);
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
        t->fd = safe_close(t->fd);
        return c;
}

static Tar small_tar(void) {
        Tar t = tar_new();

        put_entry(&t, "./", '5', NULL, NULL, 0);
        put_file(&t, "hello", "world\n");
        put_end(&t);
        return t;
}

static void every_compression_is_understood(void **state) {
        static const int filters[] = { ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_BZIP2, ARCHIVE_FILTER_XZ,
                                       ARCHIVE_FILTER_ZSTD, ARCHIVE_FILTER_LZ4 };

        for (size_t i = 0; i < ELEMENTSOF(filters); i++) {
                Tar t = small_tar();

                t = compressed(&t, filters[i]);
                expect_done(run_tar(&t), 2);
        }
}

static void names_that_lead_out_are_refused(void **state) {
        static const struct {
                const char *name, *sentence;
        } bad[] = {
                { "/etc/passwd", "Entry \"/etc/passwd\" has an absolute name." },
                { "../x", "Entry \"../x\" has \"..\" in its name." },
                { "a/../../x", "Entry \"a/../../x\" has \"..\" in its name." },
                { "a/..", "Entry \"a/..\" has \"..\" in its name." },
                { "dir/link/x", "Entry \"dir/link/x\" goes through a symbolic link." },
                { "new\nline/..", "Entry \"new\\012line/..\" has \"..\" in its name." },
                { "hello/x", "Entry \"hello/x\" goes through what is not a directory." },
                { "./", "Entry \"./\" has no name." },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                Tar t = tar_new();

                put_file(&t, "hello", "world");
                put_entry(&t, "dir/link", '2', "/etc", NULL, 0);
                put_entry(&t, bad[i].name, '2', "x", NULL, 0);
                put_end(&t);
                expect_error(run_tar(&t), EBADMSG, bad[i].sentence);
        }
}

static void a_hard_link_to_nothing_is_refused(void **state) {
        Tar t = tar_new();

        put_entry(&t, "a", '1', "later", NULL, 0);
        put_file(&t, "later", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "Entry \"a\" is a hard link to \"later\", which is not there.");
        t = tar_new();
        put_entry(&t, "a", '1', "../../etc/shadow", NULL, 0);
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "has \"..\" in its name.");
}

static void names_have_bounds(void **state) {
        char name[5000];
        Tar t = tar_new();

        memset(name, 'n', sizeof(name));
        for (size_t i = 0; i < sizeof(name); i += 100)
                name[i] = i ? '/' : 'n';
        put_pax(&t, "path", name, sizeof(name));
        put_file(&t, "short", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "has a name longer than 4095 bytes.");

        t = tar_new();
        memset(name, 'n', 256);
        put_pax(&t, "path", name, 256);
        put_file(&t, "short", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "has a component longer than 255 bytes.");

        t = tar_new();
        for (size_t i = 0; i < 600; i++)
                name[i] = i % 2 ? '/' : 'd';
        put_pax(&t, "path", name, 600);
        put_file(&t, "short", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "is more than 256 directories deep.");

        t = tar_new();
        memset(name, 'n', sizeof(name));
        put_pax(&t, "linkpath", name, sizeof(name));
        put_entry(&t, "short", '2', "x", NULL, 0);
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "is a symbolic link to nothing or too far.");
}

static void an_archive_cut_short_is_told_from_a_whole_one(void **state) {
        Tar t = tar_new(), c;
        struct stat st;

        /* Between two entries, where a tar reader alone sees nothing. */
        put_file(&t, "a", "aaa");
        put_file(&t, "b", "bbb");
        expect_error(run_tar(&t), EBADMSG, "The archive has no end: it was cut short.");

        /* In a header, and in the contents. */
        t = small_tar();
        assert_int_equal(ftruncate(t.fd, 700), 0);
        expect_error(run_tar(&t), EBADMSG, "The archive cannot be read: \"Truncated");
        t = small_tar();
        assert_int_equal(ftruncate(t.fd, 1026), 0);
        expect_error(run_tar(&t), EBADMSG, "The archive cannot be read: \"Truncated");

        /* A compressed one, anywhere: in the data, and with everything there but the checksum. */
        t = small_tar();
        c = compressed(&t, ARCHIVE_FILTER_GZIP);
        assert_int_equal(fstat(c.fd, &st), 0);
        assert_int_equal(ftruncate(c.fd, st.st_size / 2), 0);
        expect_error(run_tar(&c), EBADMSG, "The archive cannot be read: \"truncated gzip input\"");
        t = small_tar();
        c = compressed(&t, ARCHIVE_FILTER_GZIP);
        assert_int_equal(ftruncate(c.fd, st.st_size - 6), 0);
        expect_error(run_tar(&c), EBADMSG, "The archive cannot be read: it is damaged or cut short.");
}

static void what_is_no_archive_is_refused(void **state) {
        _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC), dir = open("/", O_RDONLY | O_CLOEXEC),
                            random = open("/dev/urandom", O_RDONLY | O_CLOEXEC), output_only = open("/dev/null", O_WRONLY | O_CLOEXEC);
        char garbage[10000];
        Tar t = tar_new();

        expect_error(run_fd(null), EBADMSG, "The archive is empty.");
        expect_error(run_fd(dir), EBADMSG, "Is a directory");
        expect_error(run_fd(output_only), EBADMSG, "Bad file descriptor");
        assert_int_equal(read(random, garbage, sizeof(garbage)), sizeof(garbage));
        garbage[0] = 'x'; /* no magic number by chance */
        put(&t, garbage, sizeof(garbage));
        expect_error(run_tar(&t), EBADMSG, "The archive cannot be read: \"Unrecognized archive format\"");
        t = tar_new();
        put(&t, "\x1f\x8b\x08\0", 4);
        put(&t, garbage, sizeof(garbage));
        expect_error(run_tar(&t), EBADMSG, "The archive cannot be read:");
}

static void a_damaged_header_is_refused(void **state) {
        Tar t = small_tar();

        assert_int_equal(pwrite(t.fd, "X", 1, 512 + 3), 1);
        expect_error(run_tar(&t), EBADMSG, "The archive cannot be read:");
}

static void more_entries_than_allowed_are_refused(void **state) {
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);
        Tar t = tar_new();
        char name[32];

        for (int i = 0; i < 101; i++) {
                (void) snprintf(name, sizeof(name), "f%d", i);
                put_file(&t, name, "x");
        }
        put_end(&t);
        assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
        expect_error(run_limited(t.fd, output, "101", "1000000"), EDQUOT, "The archive holds more than 101 entries.");
        safe_close(t.fd);

        /* One name a hundred times is also a hundred entries, and one directory more than there are. */
        t = tar_new();
        for (int i = 0; i < 102; i++)
                put_file(&t, "same", "x");
        put_end(&t);
        assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
        expect_error(run_limited(t.fd, output, "101", "1000000"), EDQUOT, "The archive holds more than 101 entries.");
        safe_close(t.fd);
}

/* Headers without end, through a pipe: what the worker does not read is never made. */
static void a_million_entries_are_refused_without_falling_over(void **state) {
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);
        int fds[2], status;
        Outcome o;
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                static Header batch[200];

                close(fds[0]);
                for (unsigned i = 0; i < 1100000; i++) {
                        Header *h = batch + i % ELEMENTSOF(batch);
                        char name[32];

                        (void) snprintf(name, sizeof(name), "d%u/f%u", i / 1000, i);
                        *h = header(name, '0', 0);
                        seal_header(h);
                        if (h == batch + ELEMENTSOF(batch) - 1 && write_all(fds[1], batch, sizeof(batch)) < 0)
                                break;
                }
                _exit(0);
        }
        safe_close(fds[1]);
        o = run_limited(fds[0], output, "1000000", "1000000000");
        safe_close(fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        expect_error(o, EDQUOT, "The archive holds more than 1000000 entries.");
}

static void extended_attributes_have_bounds(void **state) {
        _cleanup_free_ char *value = new0(char, 128 * 1024), *records = new(char, 65536);
        size_t n = 0;
        Tar t;

        t = tar_new();
        put_pax(&t, "SCHILY.xattr.user.big", value, 64 * 1024 + 1);
        put_file(&t, "f", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "Entry \"f\" has extended attributes that are too large.");

        t = tar_new();
        for (int i = 0; i < 65; i++) {
                char key[64];

                (void) snprintf(key, sizeof(key), "SCHILY.xattr.user.%d", i);
                n += pax_record(records + n, key, "v", 1);
        }
        put_entry(&t, "pax", 'x', NULL, records, n);
        put_file(&t, "f", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "Entry \"f\" has more than 64 extended attributes.");

        /* 64 KiB each on very many files. */
        t = tar_new();
        for (int i = 0; i < 1100; i++) {
                char name[32];

                (void) snprintf(value, 16, "%d", i);
                put_pax(&t, "SCHILY.xattr.user.big", value, 64 * 1024);
                (void) snprintf(name, sizeof(name), "f%d", i);
                put_file(&t, name, "x");
        }
        put_end(&t);
        expect_error(run_tar(&t), EDQUOT, "The archive holds more than 64 MiB of extended attributes.");
}

static void attributes_without_a_place_are_counted(void **state) {
        Tar t = tar_new();
        Outcome o;

        put_pax(&t, "SCHILY.xattr.system.nfs4_acl", "v", 1);
        put_file(&t, "f", "x");
        put_pax(&t, "SCHILY.xattr.trusted.overlay.redirect", "/", 1);
        put_entry(&t, "d", '5', NULL, NULL, 0);
        put_pax(&t, "SCHILY.acl.access", "user::rw-,user:5:rw-,group::r--,mask::r--,other::r--", 52);
        put_file(&t, "g", "x");
        put_end(&t);
        o = run_tar(&t);
        expect_done(o, 4);
        assert_int_equal(o.last.dropped, 3);
}

static void a_bomb_is_refused_by_what_it_would_become(void **state) {
        Tar t = tar_new(), c;
        Header h = header("zeros", '0', (UINT64_C(1) << 30) + 1);
        Outcome o;

        /* By its header, before any of it. */
        put_header(&t, &h);
        o = run_tar(&t);
        expect_error(o, EDQUOT, "The archive holds more than 1073741824 bytes of file contents.");
        assert_true(o.size < 4096);

        /* A sparse file that says it is enormous. */
        t = tar_new();
        put_pax(&t, "GNU.sparse.size", "9000000000000000000", 19);
        put_file(&t, "sparse", "x");
        put_end(&t);
        o = run_tar(&t);
        assert_int_equal(o.last.type, WORKER_ERROR);
        assert_true(o.size < 4096);

        /* Zeros without end behind the end of the archive, thousand to one. */
        t = tar_new();
        put_file(&t, "f", "x");
        put_end(&t);
        assert_int_equal(ftruncate(t.fd, 100 << 20), 0);
        c = compressed(&t, ARCHIVE_FILTER_ZSTD);
        expect_error(run_tar(&c), EBADMSG, "The archive is followed by something else.");
}

static void zeros_within_the_limit_take_no_space(void **state) {
        Header h = header("zeros", '0', 512 << 20);
        Tar t = tar_new();
        Outcome o;

        put_header(&t, &h);
        assert_int_equal(ftruncate(t.fd, 512 + (512 << 20) + 1024), 0);
        t = compressed(&t, ARCHIVE_FILTER_ZSTD);
        o = run_tar(&t);
        expect_done(o, 2);
        assert_true(o.size < 65536);
}

/* The library looks for what is there already by a hash of 32 bits (xxHash), for these two the same. */
static void different_contents_of_one_hash_stay_different(void **state) {
        static const char *const texts[] = { "185174d34589", "ce5ec80078ca" };
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);
        char *image;
        Tar t = tar_new();
        Outcome o;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                put_file(&t, texts[i], texts[i]);
        put_end(&t);
        assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
        o = run_limited(t.fd, output, "10", "1000");
        safe_close(t.fd);
        expect_done(o, 3);
        image = mmap(NULL, (size_t) o.size, PROT_READ, MAP_PRIVATE, output, 0);
        assert_true(image != MAP_FAILED);
        /* Too short to be compressed, so they can be seen. */
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                assert_non_null(memmem(image, (size_t) o.size, texts[i], strlen(texts[i])));
        assert_int_equal(munmap(image, (size_t) o.size), 0);
}

static void devices_and_names_of_any_bytes_are_taken(void **state) {
        Tar t = tar_new();
        Header h;

        h = header("null", '3', 0);
        memcpy(h.major, "0000001", 8);
        memcpy(h.minor, "0000003", 8);
        put_header(&t, &h);
        put_file(&t, "new\nline", "x");
        put_file(&t, "\xff\xfe", "x");
        put_entry(&t, "fifo", '6', NULL, NULL, 0);
        put_end(&t);
        expect_done(run_tar(&t), 5);

        t = tar_new();
        h = header("odd", '4', 0);
        memcpy(h.major, "0017777", 8);
        put_header(&t, &h);
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "Entry \"odd\" is a device with a number Linux does not have.");
}

static void owners_beyond_32_bits_are_refused(void **state) {
        Tar t = tar_new();

        put_pax(&t, "uid", "4294967295", 10);
        put_file(&t, "f", "x");
        put_end(&t);
        expect_error(run_tar(&t), EBADMSG, "Entry \"f\" has an owner that is not a 32-bit number.");
        t = tar_new();
        put_pax(&t, "gid", "4294967294", 10);
        put_file(&t, "f", "x");
        put_end(&t);
        expect_done(run_tar(&t), 2);
}

static void no_space_is_said_so(void **state) {
        _cleanup_close_ int full = open("/dev/full", O_RDWR | O_CLOEXEC);
        Tar t = small_tar();

        assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
        expect_error(run_limited(t.fd, full, "10", "1000"), ENOSPC, "There is no space left for the image.");
        safe_close(t.fd);
}

static void it_ends_at_once_when_told_to(void **state) {
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);
        int input[2], status[2], how;
        pid_t pid;

        assert_int_equal(pipe2(input, O_CLOEXEC), 0);
        assert_int_equal(pipe2(status, O_CLOEXEC), 0);
        pid = start_worker(input[0], output, status[1], "10", "1000");
        (void) nanosleep(&(struct timespec) { .tv_nsec = 200000000 }, NULL); /* it waits for an archive by now */
        assert_int_equal(kill(pid, SIGTERM), 0);
        assert_int_equal(waitpid(pid, &how, 0), pid);
        assert_true(WIFSIGNALED(how));
        assert_int_equal(WTERMSIG(how), SIGTERM);
        for (int i = 0; i < 2; i++) {
                safe_close(input[i]);
                safe_close(status[i]);
        }
}

/* The sandbox itself: what a worker that was taken over can still do. */

static int in_sandbox(int (*what)(void)) {
        const SandboxLimits limits = { .memory = UINT64_C(3) << 30, .file_size = 1 << 20, .cpu_seconds = 10 };
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
                const char *missing;

                if (sandbox_enter(&limits, &missing) < 0 || sandbox_seal() < 0)
                        _exit(100);
                _exit(what());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int open_file(void) {
        return open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int make_socket(void) {
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 ? errno : 0;
}

static int execute(void) {
        return execl("/bin/true", "true", NULL) < 0 ? errno : 0;
}

static int start_process(void) {
        return fork() < 0 ? errno : 0;
}

static int remove_file(void) {
        return unlink("/tmp/nothing-of-this-name") < 0 ? errno : 0;
}

static int use_memory(void) {
        char *p = malloc(10 << 20);

        if (!p)
                return ENOMEM;
        memset(p, 1, 10 << 20);
        free(p);
        return 0;
}

static void a_sealed_process_can_do_nothing_new(void **state) {
        assert_int_equal(in_sandbox(use_memory), 0);
        assert_int_equal(in_sandbox(open_file), EPERM);
        assert_int_equal(in_sandbox(make_socket), -SIGSYS);
        assert_int_equal(in_sandbox(execute), -SIGSYS);
        assert_int_equal(in_sandbox(start_process), -SIGSYS);
        assert_int_equal(in_sandbox(remove_file), -SIGSYS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_compression_is_understood),
                cmocka_unit_test(names_that_lead_out_are_refused),
                cmocka_unit_test(a_hard_link_to_nothing_is_refused),
                cmocka_unit_test(names_have_bounds),
                cmocka_unit_test(an_archive_cut_short_is_told_from_a_whole_one),
                cmocka_unit_test(what_is_no_archive_is_refused),
                cmocka_unit_test(a_damaged_header_is_refused),
                cmocka_unit_test(more_entries_than_allowed_are_refused),
                cmocka_unit_test(a_million_entries_are_refused_without_falling_over),
                cmocka_unit_test(extended_attributes_have_bounds),
                cmocka_unit_test(attributes_without_a_place_are_counted),
                cmocka_unit_test(a_bomb_is_refused_by_what_it_would_become),
                cmocka_unit_test(zeros_within_the_limit_take_no_space),
                cmocka_unit_test(different_contents_of_one_hash_stay_different),
                cmocka_unit_test(devices_and_names_of_any_bytes_are_taken),
                cmocka_unit_test(owners_beyond_32_bits_are_refused),
                cmocka_unit_test(no_space_is_said_so),
                cmocka_unit_test(it_ends_at_once_when_told_to),
                cmocka_unit_test(a_sealed_process_can_do_nothing_new),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
