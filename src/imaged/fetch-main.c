/* SPDX-License-Identifier: Apache-2.0 */

/* hero-image-fetch: gets one image from its registry for hero-imaged, which has no network. Started by PID 1 for each
 * connection to FETCH_SOCKET, under a user of its own; ends with it. Runs skopeo in a directory that goes when it ends. */

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/fetch-protocol.h"
#include "imaged/fetch-registries.h"
#include "imaged/fetch-skopeo.h"
#include "imaged/images-config.h"
#include "imaged/oci-manifest.h"
#include "shared/log.h"

#define AUTH_CREDENTIAL "containers-auth.json"

typedef struct Fetch {
        sd_event *event;
        int fd; /* hero-imaged */
        ImagesConfig config;
        char *directory, *auth_file, *location;
        int dir_fd;
        Skopeo *skopeo;
        bool copying;
} Fetch;

static int leave(Fetch *f, int status) {
        return sd_event_exit(f->event, status);
}

static void say_error(Fetch *f, FetchError e, const char *sentence) {
        int r;

        log_notice("%s", sentence);
        r = fetch_send(f->fd, &(FetchMessage) { .type = FETCH_ERROR, .error = e, .text = (char *) sentence }, NULL, 0);
        if (r < 0)
                (void) log_debug_errno(r, "Failed to say so: %m");
        (void) leave(f, EXIT_SUCCESS); /* it has been said */
}

static void say_errno(Fetch *f, int error, const char *what) {
        char sentence[FETCH_SENTENCE_MAX];

        (void) snprintf(sentence, sizeof(sentence), "%s: %s.", what, strerror(-error));
        say_error(f, error == -ENOSPC ? FETCH_NO_SPACE : FETCH_FAILED, sentence);
}

static void on_progress(uint64_t bytes, unsigned blobs, void *userdata) {
        Fetch *f = userdata;

        /* One that does not fit is no loss. */
        (void) fetch_send(f->fd, &(FetchMessage) { .type = FETCH_PROGRESS, .bytes = bytes, .blobs = blobs }, NULL, 0);
}

static int say_document(Fetch *f) {
        _cleanup_close_ int fd = openat(f->dir_fd, SKOPEO_DOCUMENT, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return negative_errno();
        return fetch_send(f->fd, &(FetchMessage) { .type = FETCH_DOCUMENT }, &fd, 1);
}

typedef struct Files {
        int fds[FETCH_FILES_MAX];
        size_t n;
        char names[FETCH_FILES_MAX * (DIGEST_HEX_LENGTH + 1) + 1];
} Files;

static void files_done(Files *f) {
        close_many(f->fds, f->n);
}

/* The blobs by name; one of them is the manifest, which is known already. */
static int collect(DIR *d, Files *files) {
        char *end = files->names;

        for (struct dirent *e; (e = readdir(d));) {
                int fd;

                if (strlen(e->d_name) != DIGEST_HEX_LENGTH)
                        continue;
                if (files->n >= FETCH_FILES_MAX)
                        return -E2BIG;
                fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                if (fd < 0)
                        return negative_errno();
                files->fds[files->n++] = fd;
                end += sprintf(end, "%s%s", end > files->names ? " " : "", e->d_name);
        }
        return 0;
}

static int say_files(Fetch *f) {
        _cleanup_(files_done) Files files = {};
        _cleanup_closedir_ DIR *d = NULL;
        int r;

        r = open_directory_stream(f->dir_fd, SKOPEO_BLOBS, &d);
        if (r >= 0)
                r = collect(d, &files);
        return r < 0 ? r
                     : fetch_send(f->fd, &(FetchMessage) { .type = FETCH_FILES, .text = files.names }, files.fds, files.n);
}

static void on_done(FetchError error, const char *sentence, void *userdata) {
        Fetch *f = userdata;
        int r;

        f->skopeo = NULL; /* frees itself */
        if ((int) error >= 0)
                return say_error(f, error, sentence);
        r = f->copying ? say_files(f) : say_document(f);
        if (r < 0)
                say_errno(f, r, "What was fetched cannot be handed over");
}

/* Before the disk is full, not after. */
static int check_space(Fetch *f, uint64_t bytes) {
        char there[FORMAT_BYTES_MAX], keep[FORMAT_BYTES_MAX], need[FORMAT_BYTES_MAX], sentence[FETCH_SENTENCE_MAX];
        struct statvfs v;
        uint64_t space;

        if (fstatvfs(f->dir_fd, &v) < 0)
                return negative_errno();
        space = (uint64_t) v.f_bavail * v.f_frsize;
        if (space >= bytes && space - bytes >= f->config.keep_free)
                return 0;
        (void) snprintf(sentence, sizeof(sentence), "To fetch %.300s, %s are needed; %s has %s free, of which KeepFree=%s stay "
                                                    "free.",
                        f->location, format_bytes(need, bytes), "/var/tmp", format_bytes(there, space),
                        format_bytes(keep, f->config.keep_free));
        say_error(f, FETCH_NO_SPACE, sentence);
        return -ENOSPC;
}

static int run_skopeo(Fetch *f, const FetchMessage *m) {
        SkopeoRequest q = {
                .copy = m->type == FETCH_COPY,
                .max_bytes = m->type == FETCH_COPY ? m->bytes : OCI_JSON_MAX,
                .dir_fd = f->dir_fd,
                .directory = f->directory,
                .auth_file = f->auth_file,
                .config = &f->config,
                .progress = on_progress,
                .done = on_done,
                .userdata = f,
        };
        int r;

        r = free_and_strdup(&f->location, m->text);
        if (r < 0)
                return r;
        if (f->config.auth_file && access(f->config.auth_file, R_OK) < 0) {
                char sentence[FETCH_SENTENCE_MAX];

                (void) snprintf(sentence, sizeof(sentence), "AuthFile=%.300s cannot be read by the user that fetches images: %s.",
                                f->config.auth_file, strerror(errno));
                say_error(f, FETCH_FAILED, sentence);
                return 0;
        }
        q.location = f->location;
        f->copying = q.copy;
        if (q.copy && check_space(f, q.max_bytes) < 0)
                return 0; /* said */
        log_debug("%s %s", q.copy ? "Copying" : "Inspecting", q.location);
        return skopeo_run(f->event, &q, &f->skopeo);
}

static int on_message(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        int fds[FETCH_FILES_MAX], r;
        char buf[FETCH_MESSAGE_MAX + 1];
        FetchMessage m;
        Fetch *f = userdata;
        size_t n_fds;

        r = fetch_receive(fd, buf, &m, fds, &n_fds);
        close_many(fds, n_fds);
        if (r == -EAGAIN)
                return 0;
        if (r == 0) /* has what it wanted, or wants no more */
                return leave(f, EXIT_SUCCESS);
        if (r < 0 || (m.type != FETCH_INSPECT && m.type != FETCH_COPY) || f->skopeo) {
                log_error("hero-imaged asks what it must not.");
                return leave(f, EXIT_FAILURE);
        }
        r = run_skopeo(f, &m);
        if (r < 0)
                say_errno(f, r, "skopeo cannot be run");
        return 0;
}

static void on_problem(const char *sentence, void *userdata) {
        log_warning("%s", sentence);
}

static int load_config(Fetch *f) {
        const char *test = secure_getenv("HERO_CONFIG_DIR"), *credentials = secure_getenv("CREDENTIALS_DIRECTORY");
        const char *const roots[] = { test, NULL };
        int r;

        images_config_defaults(&f->config);
        r = images_config_load(&f->config, test ? roots : NULL, on_problem);
        if (r < 0)
                return log_error_errno(r, "Failed to read the configuration: %m");
        if (f->config.auth_file)
                return free_and_strdup(&f->auth_file, f->config.auth_file);
        if (credentials) {
                f->auth_file = strprintf("%s/" AUTH_CREDENTIAL, credentials);
                if (!f->auth_file)
                        return -ENOMEM;
                if (access(f->auth_file, R_OK) < 0)
                        f->auth_file = mfree(f->auth_file);
        }
        return 0;
}

static int make_directory(Fetch *f) {
        _cleanup_free_ char *path = NULL, *registries = NULL;
        int r;

        path = strprintf("%s/hero-image-fetch-XXXXXX", secure_getenv("TMPDIR") ?: "/var/tmp");
        registries = registries_conf(&f->config);
        if (!path || !registries)
                return -ENOMEM;
        if (!mkdtemp(path))
                return log_error_errno(-errno, "Failed to make %s: %m", path);
        f->directory = TAKE_PTR(path);
        f->dir_fd = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (f->dir_fd < 0)
                return log_error_errno(-errno, "Failed to open %s: %m", f->directory);
        r = write_file_atomic(f->dir_fd, SKOPEO_REGISTRIES, registries, strlen(registries), 0600);
        return r < 0 ? log_error_errno(r, "Failed to write %s/" SKOPEO_REGISTRIES ": %m", f->directory) : 0;
}

static int take_socket(Fetch *f) {
        int n = sd_listen_fds(true);

        if (n != 1 || sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_SEQPACKET, 0) <= 0) {
                log_error("Not to be run by hand: hero-image-fetch.socket does it, see hero-image-fetch(8).");
                return -EBADF;
        }
        f->fd = SD_LISTEN_FDS_START;
        return fd_nonblock(f->fd, true);
}

static int run(Fetch *f) {
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return negative_errno();
        r = take_socket(f);
        if (r >= 0)
                r = load_config(f);
        if (r >= 0)
                r = make_directory(f);
        if (r < 0)
                return r;
        r = sd_event_default(&f->event);
        if (r >= 0)
                r = sd_event_set_signal_exit(f->event, true);
        if (r >= 0)
                r = sd_event_add_io(f->event, NULL, f->fd, EPOLLIN, on_message, f);
        if (r < 0)
                return log_error_errno(r, "Failed to set up the event loop: %m");
        return sd_event_loop(f->event);
}

static void fetch_done(Fetch *f) {
        skopeo_free(f->skopeo);
        if (f->directory)
                (void) remove_tree_at(AT_FDCWD, f->directory);
        safe_close(f->dir_fd);
        safe_close(f->fd);
        sd_event_unref(f->event);
        images_config_done(&f->config);
        free(f->directory);
        free(f->auth_file);
        free(f->location);
}

int main(int argc, char *argv[]) {
        Fetch f = { .fd = -EBADF, .dir_fd = -EBADF };
        int r;

        log_setup("hero-image-fetch");
        r = run(&f);
        fetch_done(&f);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
