/* SPDX-License-Identifier: Apache-2.0 */

/* hero-image-worker: makes an image's SquashFS file, as a child of hero-imaged and under its user, shut in
 * before the first byte of input is read (worker-sandbox.h). Speaks worker-protocol.h.
 *
 *   hero-image-worker tar [MAX-ENTRIES MAX-BYTES]   archive on fd 0, new file on fd 3, status on fd 4
 *   hero-image-worker rootfs MAX-ENTRIES MAX-BYTES  the same, if it is not an archive of images
 *   hero-image-worker layers MAX-ENTRIES MAX-BYTES LAYER…
 *                                       likewise, of blobs on fds from 5 up, the lowest first:
 *                                       FD:OFFSET:SIZE:HEX:HEX (SHA-256 of blob and tar, "-": not known)
 *   hero-image-worker index             what is where in the uncompressed archive on fd 0, to fd 4
 *   hero-image-worker stage MAX-BYTES   fd 0 to fd 3 as it is
 *   hero-image-worker busybox PATH      the built-in image, as tar
 *   hero-image-worker digest            "sha256:HEX SIZE" of fd 3 to stdout, and fd 3 to the disk
 *
 * Ended by SIGTERM or SIGKILL at any moment it leaves nothing, for its only output is a file without a name.
 */

#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/archive-index.h"
#include "imaged/busybox-tree.h"
#include "imaged/hasher.h"
#include "imaged/layer-merge.h"
#include "imaged/sha256.h"
#include "imaged/squashfs-writer.h"
#include "imaged/tar-import.h"
#include "imaged/worker-protocol.h"
#include "imaged/worker-sandbox.h"
#include "shared/log.h"

#define THREADS_MAX 4u
#define PROGRESS_INTERVAL (100 * USEC_PER_MSEC)
/* Address space. 200,000 entries need some 40 MiB, the rest is what threads and their allocators reserve,
 * and the window of a zstd layer (up to 128 MiB). */
#define MEMORY_BASE (UINT64_C(768) << 20)
#define MEMORY_PER_ENTRY 512u
#define CPU_SECONDS_MAX UINT64_C(7200)
#define DIGEST_READ_SIZE (1u << 20)

typedef struct Worker {
        Tree *tree;
        SquashfsWriter *writer;
        Hasher *hasher; /* of "layers" */
        uint64_t last_progress;
} Worker;

static int say(const WorkerLine *l) {
        char buf[WORKER_LINE_MAX];

        return write_all(WORKER_STATUS_FD, buf, worker_line_format(l, buf));
}

static int say_error(int error, const char *sentence) {
        (void) say(&(WorkerLine){ .type = WORKER_ERROR, .error = -error, .sentence = sentence });
        return EXIT_FAILURE;
}

static int say_errno(int error) {
        switch (error) {
        case -ENOSPC:
        case -EDQUOT:
                return say_error(-ENOSPC, "There is no space left for the image.");
        case -EFBIG:
                return say_error(-EDQUOT, "The image is larger than an image may be.");
        case -ENOMEM:
                return say_error(-ENOMEM, "The archive needs more memory than an import may use.");
        case -EOVERFLOW:
                return say_error(-EBADMSG, "The archive holds files of more than 65536 different owners.");
        default: {
                _cleanup_free_ char *sentence = strprintf("Writing the image failed: %s.", strerror(-error));

                return say_error(error, sentence ?: "Writing the image failed.");
        }
        }
}

static void on_progress(uint64_t bytes, uint32_t entries, void *userdata) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        Worker *w = userdata;

        if (now - w->last_progress < PROGRESS_INTERVAL)
                return;
        w->last_progress = now;
        (void) say(&(WorkerLine){ .type = WORKER_PROGRESS, .bytes = bytes, .entries = entries });
}

static int enter(int last_fd, const ImportLimits *import) {
        const SandboxLimits limits = {
                .memory = MEMORY_BASE + (uint64_t) import->max_entries * MEMORY_PER_ENTRY,
                .file_size = import->max_bytes +
                             (UINT64_C(1) << 30), /* tables, and what does not compress */
                .cpu_seconds = CPU_SECONDS_MAX,
        };
        struct pollfd status = { .fd = WORKER_STATUS_FD, .events = POLLOUT };
        const char *missing;
        int r;

        if (close_range((unsigned) last_fd + 1, ~0u, 0) < 0)
                return negative_errno();
        r = sandbox_enter(&limits, &missing);
        if (r < 0)
                return log_error_errno(r, "Failed to shut myself in: %m");
        /* From here on we die with our parent. It may have died before. */
        if (poll(&status, 1, 0) > 0 && (status.revents & POLLERR))
                _exit(EXIT_FAILURE);
        if (missing)
                log_notice("Running without %s of my own: the system does not permit them.", missing);
        return 0;
}

static int start(Worker *w, uint32_t max_entries) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        int r;

        r = tree_new(max_entries, &w->tree);
        if (r >= 0)
                r = squashfs_writer_new(WORKER_OUTPUT_FD, (unsigned) MIN2(MAX2(n, 1L), (long) THREADS_MAX),
                                &w->writer);
        if (r >= 0)
                r = sandbox_seal();
        return r;
}

static int finish(Worker *w, const ImportResult *result) {
        int r;

        r = squashfs_writer_finish(w->writer, w->tree);
        if (r < 0)
                return say_errno(r);
        r = say(&(WorkerLine){
                        .type = WORKER_DONE,
                        .entries = result->n_entries,
                        .bytes = result->n_bytes,
                        .dropped = result->n_dropped_xattrs,
        });
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_tar(const ImportLimits *limits) {
        _cleanup_free_ char *why = NULL;
        ImportResult result;
        Worker w = {};
        int r;

        r = enter(WORKER_STATUS_FD, limits);
        if (r >= 0)
                r = start(&w, limits->max_entries);
        if (r < 0)
                return say_errno(r);
        r = tar_import(WORKER_INPUT_FD, limits, w.tree, w.writer, on_progress, &w, &result, &why);
        if (r < 0)
                return why ? say_error(r, why) : say_errno(r);
        return finish(&w, &result);
}

static void on_layer_done(unsigned layer, void *userdata) {
        (void) say(&(WorkerLine){ .type = WORKER_LAYER, .entries = layer });
}

static int merge(const Layer *layers, size_t n_layers, const ImportLimits *limits) {
        _cleanup_free_ char *why = NULL;
        ImportResult result;
        Worker w = {};
        int r;

        r = enter(WORKER_LAYERS_FD + (int) LAYERS_MAX, limits);
        if (r >= 0)
                r = sha256_init();
        if (r >= 0)
                r = hasher_new(&w.hasher);
        if (r >= 0)
                r = start(&w, limits->max_entries);
        if (r < 0)
                return say_errno(r);
        r = layer_merge(layers, n_layers, w.hasher, limits, w.tree, w.writer, on_progress, on_layer_done, &w,
                        &result, &why);
        if (r < 0)
                return why ? say_error(r, why) : say_errno(r);
        return finish(&w, &result);
}

static int run_layers(char *const *arguments, const ImportLimits *limits) {
        Layer layers[LAYERS_MAX] = {};
        size_t n = 0;

        for (; arguments[n]; n++)
                if (n == LAYERS_MAX || layer_parse(arguments[n], &layers[n]) < 0) {
                        log_error("\"%s\" is not a layer, or one too many.", arguments[n]);
                        return EXIT_FAILURE;
                }
        return merge(layers, n, limits);
}

static int on_entry(uint64_t offset, uint64_t size, const char *name, void *userdata) {
        return say(&(WorkerLine){ .type = WORKER_ENTRY, .offset = offset, .bytes = size, .name = name });
}

static int run_index(void) {
        _cleanup_free_ char *why = NULL;
        const ImportLimits limits = {};
        uint32_t n_entries;
        int r;

        r = enter(WORKER_STATUS_FD, &limits);
        if (r >= 0)
                r = sandbox_seal();
        if (r >= 0)
                r = archive_index(WORKER_INPUT_FD, on_entry, NULL, &n_entries, &why);
        if (r < 0)
                return why ? say_error(r, why) : say_errno(r);
        return say(&(WorkerLine){ .type = WORKER_DONE, .entries = n_entries }) < 0 ? EXIT_FAILURE
                                                                                   : EXIT_SUCCESS;
}

/* Whether the other side of a pipe made it non-blocking is not ours to change. */
static ssize_t read_some(void *buffer, size_t size) {
        for (;;) {
                ssize_t n = read(WORKER_INPUT_FD, buffer, size);

                if (n >= 0)
                        return n;
                if (errno == EAGAIN)
                        (void) poll(&(struct pollfd){ .fd = WORKER_INPUT_FD, .events = POLLIN }, 1, -1);
                else if (errno != EINTR)
                        return negative_errno();
        }
}

/* Piece by piece, so that whoever waits sees that it goes on. */
static int copy(uint64_t max_bytes, uint64_t *ret_bytes) {
        static char buffer[256u * 1024u];
        Worker w = {};
        uint64_t bytes = 0;
        int r;

        for (;;) {
                ssize_t n = read_some(buffer, sizeof(buffer));

                if (n < 0)
                        return (int) n;
                if (n == 0)
                        break;
                bytes += (uint64_t) n;
                if (bytes > max_bytes)
                        return -EFBIG;
                r = write_all(WORKER_OUTPUT_FD, buffer, (size_t) n);
                if (r < 0)
                        return r;
                on_progress(bytes, 0, &w);
        }
        *ret_bytes = bytes;
        return 0;
}

static int run_stage(uint64_t max_bytes) {
        uint64_t bytes;
        int r;

        r = enter(WORKER_STATUS_FD, &(ImportLimits){ .max_bytes = max_bytes });
        if (r >= 0)
                r = sandbox_seal();
        if (r >= 0)
                r = copy(max_bytes, &bytes);
        if (r < 0)
                return say_errno(r);
        return say(&(WorkerLine){ .type = WORKER_DONE, .bytes = bytes }) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_busybox(const char *path) {
        _cleanup_free_ char *applets = NULL;
        _cleanup_close_ int fd = -EBADF;
        const ImportLimits limits = { IMPORT_MAX_ENTRIES_DEFAULT, IMPORT_MAX_BYTES_DEFAULT };
        ImportResult result = {};
        Worker w = {};
        int r;

        r = busybox_list_applets(path, &applets);
        if (r < 0)
                return say_error(r, "The busybox program cannot be run. Is busybox-static installed?");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || dup2(fd, WORKER_INPUT_FD) < 0)
                return say_error(negative_errno(), "The busybox program cannot be read.");
        r = enter(WORKER_STATUS_FD, &limits);
        TAKE_FD(fd); /* closed with all above the status fd, or below and harmless */
        if (r >= 0)
                r = start(&w, limits.max_entries);
        if (r >= 0)
                r = busybox_tree(WORKER_INPUT_FD, applets, w.tree, w.writer);
        if (r == -ENOEXEC)
                return say_error(r, "The busybox program is not a static one. Is busybox-static installed?");
        if (r < 0)
                return say_errno(r);
        result.n_entries = tree_n_entries(w.tree);
        return finish(&w, &result);
}

/* All of the output file through the hash, which another thread computes: reading takes half as long as that. */
static int hash_file(Sha256 *s, uint64_t *ret_size) {
        static uint8_t buffer[DIGEST_READ_SIZE];
        _cleanup_(hasher_freep) Hasher *h = NULL;
        uint64_t size = 0;
        int r;

        r = hasher_new(&h);
        if (r < 0)
                return r;
        for (;;) {
                ssize_t n = pread(WORKER_OUTPUT_FD, buffer, sizeof(buffer), (off_t) size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return negative_errno();
                if (n == 0)
                        break;
                hasher_write(h, s, buffer, (size_t) n);
                size += (uint64_t) n;
        }
        hasher_sync(h);
        *ret_size = size;
        return 0;
}

static int run_digest(void) {
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        char hex[SHA256_HEX_LENGTH + 1];
        uint64_t size = 0;
        int r;

        r = sha256_new(&s);
        if (r >= 0)
                r = hash_file(s, &size);
        if (r >= 0 && fsync(WORKER_OUTPUT_FD) < 0)
                r = negative_errno();
        if (r < 0)
                return log_error_errno(r, "Failed to read the image back: %m"), EXIT_FAILURE;
        sha256_read(s, hex);
        return dprintf(STDOUT_FILENO, "sha256:%s %llu\n", hex, (unsigned long long) size) < 0 ? EXIT_FAILURE
                                                                                              : EXIT_SUCCESS;
}

static bool parse_limits(char *const *arguments, ImportLimits *limits) {
        return parse_uint(arguments[0], UINT32_MAX, &limits->max_entries) >= 0 &&
               parse_uint64(arguments[1], &limits->max_bytes) >= 0 && limits->max_bytes <= INT64_MAX / 2;
}

static int run(int argc, char *argv[]) {
        ImportLimits limits = { .max_entries = IMPORT_MAX_ENTRIES_DEFAULT,
                .max_bytes = IMPORT_MAX_BYTES_DEFAULT };

        if (argc == 2 && streq(argv[1], "digest"))
                return run_digest();
        if (argc == 3 && streq(argv[1], "busybox"))
                return run_busybox(argv[2]);
        if (argc == 2 && streq(argv[1], "tar"))
                return run_tar(&limits);
        if (argc == 2 && streq(argv[1], "index"))
                return run_index();
        if (argc == 3 && streq(argv[1], "stage") && parse_uint64(argv[2], &limits.max_bytes) >= 0 &&
                        limits.max_bytes <= INT64_MAX / 2)
                return run_stage(limits.max_bytes);
        if (argc == 4 && streq(argv[1], "tar") && parse_limits(argv + 2, &limits))
                return run_tar(&limits);
        if (argc == 4 && streq(argv[1], "rootfs") && parse_limits(argv + 2, &limits)) {
                limits.no_images = true;
                return run_tar(&limits);
        }
        if (argc > 4 && streq(argv[1], "layers") && parse_limits(argv + 2, &limits))
                return run_layers(argv + 4, &limits);
        log_error("Not to be run by hand, see image-worker.c.");
        return EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
        int status;

        log_setup("hero-image-worker");
        /* Names are bytes to us, and libarchive gives UTF-8 ones unchanged only in such a locale. */
        (void) setlocale(LC_CTYPE, "C.UTF-8");
        status = run(argc, argv);
        /* A million nodes need not be freed one by one, and the threads have nothing left to say. */
        fflush(NULL);
        _exit(status);
}
