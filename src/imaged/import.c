/* SPDX-License-Identifier: Apache-2.0 */

/* Imports: the work of a job that makes an image of a tar.
 *
 *   room → look at the beginning ─ a root file system: read as it comes
 *                                └ images: (a pipe: staged to a file without a name) → index → documents → convert.c
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/archive-image.h"
#include "imaged/archive-sniff.h"
#include "imaged/space.h"
#include "imaged/worker-run.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define SNIFF_SIZE (64u * 1024u)
/* JSON documents and headers, on top of the layers. */
#define STAGE_SLACK (UINT64_C(64) << 20)

typedef struct Import {
        Job *job;
        Imaged *imaged;
        int fd; /* the archive: the caller's, or staged */
        StoreFile staged;
        SpaceRequest *space;
        sd_event_source *readable; /* the pipe that is looked into */
        WorkerRun *run;
        ArchiveIndex index;
        Build *build;
        Conversion *conversion;
} Import;

static void import_free(void *work) {
        Import *i = work;

        i->imaged->n_imports--;
        sd_event_source_disable_unref(i->readable);
        space_request_free(i->space);
        worker_run_free(i->run);
        build_free(i->build);
        conversion_free(i->conversion);
        archive_index_done(&i->index);
        image_store_discard(i->imaged->store, &i->staged);
        safe_close(i->fd);
        free(i);
}

const char *import_error_name(int error) {
        switch (error) {
        case -ENOSPC:
                return ERROR_NO_CAPACITY;
        case -EDQUOT:
                return ERROR_LIMIT_EXCEEDED;
        default:
                return ERROR_IMPORT_FAILED;
        }
}

static void fail_errno(Import *i, int error, const char *what) {
        _cleanup_free_ char *sentence = strprintf("%s: %s.", what, strerror(-error));

        job_fail(i->job, import_error_name(error), sentence ?: what);
}

static void on_progress(uint64_t bytes, uint32_t entries, void *userdata) {
        Import *i = userdata;

        job_set_progress(i->job, bytes, i->job->total);
}

static int put_rootfs(Import *i, const BuildResult *result) {
        uint64_t now = now_usec(CLOCK_REALTIME);
        ImageRecord record = {
                .size = result->size, .entries = result->entries, .created = now, .pulled = now, .last_used = now,
        };

        (void) snprintf(record.digest, sizeof(record.digest), "%s", result->digest);
        (void) snprintf(record.content, sizeof(record.content), "%s", result->digest);
        return catalog_put(&i->imaged->catalog, &record, i->job->reference, NULL);
}

static void on_rootfs(const BuildResult *result, void *userdata) {
        Import *i = userdata;
        Imaged *m = i->imaged;
        int r;

        i->build = NULL; /* frees itself */
        if (result->error < 0)
                return job_fail(i->job, import_error_name(result->error), result->sentence);
        r = put_rootfs(i, result);
        if (r < 0) {
                log_error_errno(r, "Failed to write the record of %s: %m", i->job->reference);
                return job_fail(i->job, import_error_name(r),
                                r == -EDQUOT ? "There are too many images already, remove one first."
                                             : "What is known of the image could not be written.");
        }
        log_info("Image %s is %s, %" PRIu32 " entries, %" PRIu64 " bytes.", i->job->reference, result->digest,
                        result->entries, result->size);
        if (result->dropped_xattrs > 0)
                log_notice("%" PRIu32 " extended attributes of %s (POSIX ACLs) have no place in a SquashFS and were left out.",
                                result->dropped_xattrs, i->job->reference);
        job_done(i->job, result->digest);
        collect_images(m);
}

/* sure: that there are no images in it. */
static void convert_rootfs(Import *i, bool sure) {
        char entries[16], bytes[24];
        const char *const arguments[] = { sure ? "tar" : "rootfs", entries, bytes, NULL };
        const BuildRequest request = {
                .argv = arguments, .input_fd = i->fd, .progress = on_progress, .done = on_rootfs, .userdata = i,
        };
        const ImagesConfig *c = &i->imaged->config;
        int r;

        (void) snprintf(entries, sizeof(entries), "%u", c->entries_max);
        (void) snprintf(bytes, sizeof(bytes), "%" PRIu64, MIN2(c->image_size_max, UINT64_C(1) << 60));
        job_set_step(i->job, STEP_CONVERT);
        r = build_start(i->imaged->event, i->imaged->store, &request, &i->build);
        if (r < 0)
                return fail_errno(i, r, "The import cannot be started");
        if (i->staged.fd < 0)
                i->fd = safe_close(i->fd); /* of a pipe: the worker holds its end, and only the worker */
}

static void convert_images(Import *i) {
        _cleanup_(archive_image_done) ArchiveImage image = {};
        char tag[REFERENCE_TAG_MAX + 1] = "";
        _cleanup_free_ char *why = NULL;
        const char *t;
        Image *there;
        size_t n = 0;
        int r;

        t = reference_tag(i->job->reference, &n);
        (void) snprintf(tag, sizeof(tag), "%.*s", (int) n, strempty(t));
        r = archive_image_read(i->fd, &i->index, tag, i->job->platform, &image, &why);
        if (r == -ENODATA)
                return convert_rootfs(i, true); /* one that looked like it */
        if (r < 0)
                return job_fail(i->job, r == -ENOENT ? ERROR_NO_SUCH_IMAGE : import_error_name(r), why ?: strerror(-r));
        there = catalog_find_whole(&i->imaged->catalog, image.digest);
        if (there)
                return job_done_with(i->job, there);
        if (image.size > i->imaged->config.image_size_max)
                return job_fail(i->job, ERROR_LIMIT_EXCEEDED, "The image is larger than ImageSizeMax=.");
        r = conversion_start(i->job, image.digest, &image.config, image.layers, image.n_layers, &i->conversion);
        if (r < 0)
                fail_errno(i, r, "The image cannot be converted");
}

static int on_entry(const WorkerLine *line, void *userdata) {
        Import *i = userdata;

        return line->type == WORKER_ENTRY ? archive_index_add(&i->index, line) : 0;
}

static void on_indexed(int error, const char *sentence, const WorkerLine *last, void *userdata) {
        Import *i = userdata;

        i->run = NULL; /* frees itself */
        if (error < 0)
                return job_fail(i->job, import_error_name(error), sentence ?: "Out of memory.");
        convert_images(i);
}

static void make_index(Import *i) {
        static const char *const arguments[] = { "index", NULL };
        const WorkerRequest request = {
                .argv = arguments, .input_fd = i->fd, .output_fd = -EBADF, .line = on_entry, .end = on_indexed, .userdata = i,
        };
        int r;

        job_set_step(i->job, STEP_RESOLVE);
        r = worker_run(i->imaged->event, &request, &i->run);
        if (r < 0)
                fail_errno(i, r, "The import cannot be started");
}

static int on_staging(const WorkerLine *line, void *userdata) {
        Import *i = userdata;

        if (line->type != WORKER_PROGRESS)
                return -EBADMSG;
        job_set_progress(i->job, line->bytes, 0);
        return 0;
}

static void on_staged(int error, const char *sentence, const WorkerLine *last, void *userdata) {
        Import *i = userdata;

        i->run = NULL; /* frees itself */
        if (error < 0)
                return job_fail(i->job, import_error_name(error), sentence ?: "Out of memory.");
        if (lseek(i->staged.fd, 0, SEEK_SET) < 0)
                return fail_errno(i, negative_errno(), "The import cannot go on");
        safe_close(i->fd);
        i->fd = fcntl(i->staged.fd, F_DUPFD_CLOEXEC, 3);
        if (i->fd < 0)
                return fail_errno(i, negative_errno(), "The import cannot go on");
        make_index(i);
}

static void stage(Import *i) {
        char bytes[24];
        const char *const arguments[] = { "stage", bytes, NULL };
        WorkerRequest request = {
                .argv = arguments, .input_fd = i->fd, .line = on_staging, .end = on_staged, .userdata = i,
        };
        int r;

        (void) snprintf(bytes, sizeof(bytes), "%" PRIu64,
                        MIN2(i->imaged->config.image_size_max, UINT64_C(1) << 60) + STAGE_SLACK);
        job_set_step(i->job, STEP_FETCH);
        r = image_store_scratch(i->imaged->store, &i->staged);
        if (r >= 0) {
                request.output_fd = i->staged.fd;
                r = worker_run(i->imaged->event, &request, &i->run);
        }
        if (r < 0)
                return fail_errno(i, r, "The import cannot be started");
        i->fd = safe_close(i->fd);
}

/* What is there of a pipe, without taking it away: through another one. */
static ssize_t peek_pipe(int fd, void *buf, size_t size) {
        _cleanup_close_ int in = -EBADF, out = -EBADF;
        int fds[2];
        ssize_t n;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return negative_errno();
        in = fds[0];
        out = fds[1];
        (void) fcntl(out, F_SETPIPE_SZ, (int) SNIFF_SIZE);
        n = tee(fd, out, size, SPLICE_F_NONBLOCK);
        if (n > 0)
                n = read(in, buf, (size_t) n);
        return n < 0 ? negative_errno() : n;
}

/* Nothing more will come, or nothing more fits, before we have taken something. */
static bool pipe_is_full_or_ended(int fd, uint32_t revents) {
        int there = 0, size = fcntl(fd, F_GETPIPE_SZ);

        return (revents & EPOLLHUP) || ioctl(fd, FIONREAD, &there) < 0 || size < 0 || there >= (int) SNIFF_SIZE ||
               there >= size - 4096;
}

static void go_on(Import *i, Sniff sniff) {
        if (sniff != SNIFF_ARCHIVE)
                return convert_rootfs(i, sniff == SNIFF_ROOTFS);
        if (i->readable) {
                i->readable = sd_event_source_disable_unref(i->readable);
                return stage(i);
        }
        make_index(i);
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        static char buf[SNIFF_SIZE];
        Import *i = userdata;
        Sniff sniff;
        ssize_t n;

        n = peek_pipe(i->fd, buf, sizeof(buf));
        if (n == -EAGAIN)
                return 0;
        sniff = n > 0 ? archive_sniff(buf, (size_t) n) : SNIFF_UNKNOWN;
        if (sniff == SNIFF_MORE && !pipe_is_full_or_ended(i->fd, revents))
                return 0;
        if (sniff != SNIFF_ARCHIVE)
                i->readable = sd_event_source_disable_unref(i->readable);
        go_on(i, sniff);
        return 0;
}

static void look(Import *i) {
        static char buf[SNIFF_SIZE];
        struct stat st;
        off_t offset;
        int r;

        if (fstat(i->fd, &st) < 0)
                return fail_errno(i, negative_errno(), "The import cannot be started");
        if (S_ISFIFO(st.st_mode)) {
                job_set_step(i->job, STEP_FETCH);
                /* Edges: what is there stays there. */
                r = sd_event_add_io(i->imaged->event, &i->readable, i->fd, EPOLLIN | EPOLLET, on_readable, i);
                if (r < 0)
                        fail_errno(i, r, "The import cannot be started");
                return;
        }
        offset = S_ISREG(st.st_mode) ? lseek(i->fd, 0, SEEK_CUR) : -1;
        if (offset == 0) {
                ssize_t n = pread(i->fd, buf, sizeof(buf), 0);

                return go_on(i, n > 0 ? archive_sniff(buf, (size_t) n) : SNIFF_UNKNOWN);
        }
        convert_rootfs(i, false); /* of a socket, or somewhere within a file: only what can be read as it comes */
}

static void on_room(const char *why, void *userdata) {
        Import *i = userdata;

        i->space = NULL; /* frees itself */
        if (why)
                return job_fail(i->job, ERROR_NO_CAPACITY, why);
        look(i);
}

int import_new(Imaged *m, const char *reference, const char *platform, const char *sender, int tar_fd, Job **ret,
                sd_bus_error *error) {
        _cleanup_(job_freep) Job *j = NULL;
        Import *i;
        int r;

        if (m->n_imports >= IMPORTS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u imports are running already, try again later.",
                                IMPORTS_MAX);
        r = job_new(m, JOB_IMPORT, reference, platform, &j, error);
        if (r >= 0)
                r = job_request(j, sender, error);
        if (r < 0)
                return r;
        i = new0(Import, 1);
        if (!i)
                return -ENOMEM;
        *i = (Import) { .job = j, .imaged = m, .fd = -EBADF, .staged.fd = -EBADF };
        m->n_imports++;
        j->work = i;
        j->stop = import_free;
        i->fd = fcntl(tar_fd, F_DUPFD_CLOEXEC, 3);
        if (i->fd < 0)
                return negative_errno();
        /* How much it will be, nobody knows; but where there is nothing left, it is not begun. */
        r = space_request(j, 0, on_room, i, &i->space);
        if (r < 0)
                return sd_bus_error_setf(error, import_error_name(r), "The import cannot be started: %s.", strerror(-r));
        *ret = TAKE_PTR(j);
        return 0;
}
