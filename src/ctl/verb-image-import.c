/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl image import: hands a root file system to the image service as one stream: a tar file or standard input
 * as the descriptor itself, a directory as a tar that a child process writes while the service reads. */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/progress.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"
#include "ctl/tar-stream.h"
#include "shared/error-names.h"

#define PIPE_SIZE (1024 * 1024)
#define PROGRESS_AFTER USEC_PER_SEC
#define PROGRESS_EVERY (200 * USEC_PER_MSEC)
#define ERROR_MAX 4096u

typedef struct Import {
        sd_bus *bus;
        sd_event *event;
        const char *reference;
        uint32_t id;
        int tar_fd;         /* what the service reads; of a file, its offset is the progress */
        uint64_t tar_size;  /* 0: unknown */
        int write_fd;       /* of a directory: held open until the child has succeeded, see on_child() */
        int error_fd;       /* what the child has to say */
        pid_t child;
        uint64_t begun, shown, bytes;
        uint32_t entries;
        bool canceled;
        char *digest;
        int result;
} Import;

static void import_done(Import *i) {
        if (i->child > 0) {
                kill(i->child, SIGKILL);
                while (waitpid(i->child, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        safe_close(i->tar_fd);
        safe_close(i->write_fd);
        safe_close(i->error_fd);
        free(i->digest);
        sd_event_unref(i->event);
}

static void show_progress(Import *i) {
        char bytes[FORMAT_BYTES_MAX], span[FORMAT_TIMESPAN_MAX];
        _cleanup_free_ char *text = NULL, *what = NULL;
        uint64_t now = now_usec(CLOCK_MONOTONIC), done = 0;
        off_t offset;

        if (arg_quiet || !isatty(STDERR_FILENO) || now - i->begun < PROGRESS_AFTER || now - i->shown < PROGRESS_EVERY)
                return;
        i->shown = now;
        offset = i->tar_size > 0 ? lseek(i->tar_fd, 0, SEEK_CUR) : -1;
        if (offset > 0)
                done = (uint64_t) offset;
        what = strprintf("Importing %s", i->reference);
        text = strprintf("%s, %" PRIu32 " entries, %s", format_bytes(bytes, i->bytes), i->entries,
                         format_timespan(span, now - i->begun));
        if (what && text)
                progress_bar(what, done, i->tar_size, text);
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Import *i = userdata;
        uint64_t bytes;
        uint32_t id, entries;

        if (sd_bus_message_read(m, "utu", &id, &bytes, &entries) < 0 || id != i->id)
                return 0;
        i->bytes = bytes;
        i->entries = entries;
        show_progress(i);
        return 0;
}

static void finish(Import *i, int r) {
        if (i->result == 0)
                i->result = r;
        sd_event_exit(i->event, 0);
}

static int on_done(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Import *i = userdata;
        const char *result, *message, *digest;
        uint32_t id;

        if (sd_bus_message_read(m, "usss", &id, &result, &message, &digest) < 0 || id != i->id)
                return 0;
        progress_clear();
        if (streq(result, "done")) {
                finish(i, free_and_strdup(&i->digest, digest));
                return 0;
        }
        if (i->result == 0 && !streq(result, "canceled")) {
                sd_bus_error_set(&error, result, message);
                report_error(-EIO, &error, "import image '%s'", i->reference);
        } else if (i->result == 0 && !arg_quiet)
                fprintf(stderr, "Canceled: import image '%s'.\n", i->reference);
        finish(i, streq(result, "canceled") ? -ECANCELED : -EIO);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Import *i = userdata;
        const char *owner;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0 || owner[0])
                return 0;
        progress_clear();
        fprintf(stderr, "Failed to import image '%s': the image service ended; see 'journalctl -u hero-imaged'.\n",
                i->reference);
        finish(i, -EHOSTUNREACH);
        return 0;
}

static int on_canceled(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Import *i = userdata;

        i->write_fd = safe_close(i->write_fd); /* nobody takes its end for the tar's any more */
        /* On failure it was over already or is gone; otherwise ImportDone comes. */
        if (sd_bus_message_is_method_error(m, NULL))
                finish(i, -ECANCELED);
        return 0;
}

static int cancel(Import *i) {
        i->canceled = true;
        return sd_bus_call_method_async(i->bus, NULL, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "CancelImport",
                                        on_canceled, i, "u", i->id);
}

static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Import *i = userdata;

        progress_clear();
        if (i->canceled || cancel(i) < 0) {
                finish(i, -ECANCELED);
                return 0;
        }
        if (!arg_quiet)
                fprintf(stderr, "Canceling…\n");
        return 0;
}

static void report_child(Import *i, const siginfo_t *si) {
        _cleanup_free_ char *clean = NULL;
        char text[ERROR_MAX + 1] = "";
        ssize_t n;

        n = read(i->error_fd, text, ERROR_MAX);
        text[n > 0 ? n : 0] = 0;
        clean = sanitize_line(text[0] ? text : "the process that reads the directory was killed");
        progress_clear();
        fprintf(stderr, "Failed to import image '%s': %s.\n", i->reference, strna(clean));
}

/* The end of a tar that broke off looks like an end: until the child has said that all was written, the pipe stays
 * open, and if it failed the import is canceled before the pipe is closed. */
static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Import *i = userdata;

        i->child = 0;
        if (si->si_code == CLD_EXITED && si->si_status == 0) {
                i->write_fd = safe_close(i->write_fd);
                return 0;
        }
        report_child(i, si);
        if (i->result == 0)
                i->result = -EIO;
        if (!i->canceled && cancel(i) < 0)
                finish(i, -EIO);
        return 0;
}

_Noreturn static void child(pid_t parent, int dir_fd, int out_fd, int error_fd) {
        _cleanup_free_ char *error = NULL;
        sigset_t none;
        int r;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGINT, SIG_IGN); /* typed Ctrl-C is the parent's business */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        r = tar_stream_directory(dir_fd, out_fd, &error);
        if (r == -EPIPE) /* the service has said, or will say, why it stopped reading */
                r = 0;
        if (r < 0) {
                const char *text = error ?: strerror(-r);

                (void) write_all(error_fd, text, MIN2(strlen(text), ERROR_MAX));
        }
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Starts the child that reads the directory; i->tar_fd is the pipe's end for the service. */
static int stream_directory(Import *i, int dir_fd) {
        _cleanup_close_ int error_write = -EBADF;
        int fds[2], errors[2];
        pid_t parent = getpid();

        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        i->tar_fd = fds[0];
        i->write_fd = fds[1];
        (void) fcntl(i->write_fd, F_SETPIPE_SZ, PIPE_SIZE);
        if (pipe2(errors, O_CLOEXEC) < 0)
                return negative_errno();
        i->error_fd = errors[0];
        error_write = errors[1];
        i->child = fork();
        if (i->child < 0)
                return negative_errno();
        if (i->child == 0) {
                i->tar_fd = safe_close(i->tar_fd); /* or the pipe never breaks */
                child(parent, dir_fd, i->write_fd, error_write);
        }
        return 0;
}

static int open_path(Import *i, const char *path) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (streq(path, "-"))
                fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        else
                fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0)
                return negative_errno();
        if (isatty(fd))
                return -ENOTTY;
        if (S_ISDIR(st.st_mode))
                return stream_directory(i, fd);
        if (S_ISREG(st.st_mode))
                i->tar_size = (uint64_t) st.st_size;
        i->tar_fd = TAKE_FD(fd);
        return 0;
}

static int subscribe(Import *i) {
        int r;

        r = sd_bus_match_signal(i->bus, NULL, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "ImportProgress", on_progress, i);
        if (r < 0)
                return r;
        r = sd_bus_match_signal(i->bus, NULL, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "ImportDone", on_done, i);
        if (r < 0)
                return r;
        return sd_bus_add_match(i->bus, NULL,
                                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" HERO_IMAGES "'",
                                on_owner_changed, i);
}

static int call(Import *i, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        for (unsigned n = 0;; n++) {
                r = sd_bus_call_method(i->bus, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Import", error, &reply, "sha{sv}",
                                       i->reference, i->tar_fd, 0);
                if (r >= 0)
                        break;
                /* Busy: it was about to leave, and has given up its name already: the next call starts the next one. */
                if (n > 0 || !sd_bus_error_has_name(error, ERROR_BUSY))
                        return r;
                sd_bus_error_free(error);
        }
        if (i->tar_size == 0) /* of a pipe: the service holds its end, and only the service */
                i->tar_fd = safe_close(i->tar_fd);
        return sd_bus_message_read_basic(reply, 'u', &i->id);
}

static int wait_for_end(Import *i) {
        sigset_t ss;
        int r;

        sigemptyset(&ss);
        sigaddset(&ss, SIGINT);
        sigaddset(&ss, SIGTERM);
        sigaddset(&ss, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &ss, NULL) < 0)
                return negative_errno();
        r = sd_event_new(&i->event);
        if (r >= 0)
                r = sd_event_add_signal(i->event, NULL, SIGINT, on_interrupt, i);
        if (r >= 0)
                r = sd_event_add_signal(i->event, NULL, SIGTERM, on_interrupt, i);
        if (r >= 0 && i->child > 0)
                r = sd_event_add_child(i->event, NULL, i->child, WEXITED, on_child, i);
        if (r >= 0)
                r = sd_bus_attach_event(i->bus, i->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_event_loop(i->event);
        (void) sd_bus_detach_event(i->bus);
        progress_clear();
        return r < 0 ? r : i->result;
}

static int print_result(const Import *i) {
        static const Column columns[] = {
                { NULL, "reference", COLUMN_STRING },
                { NULL, "digest", COLUMN_STRING },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        if (arg_json == JSON_OFF) {
                if (!arg_quiet)
                        puts(strempty(i->digest));
                return 0;
        }
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r >= 0)
                r = table_add(t, i->reference, i->digest);
        return r < 0 ? r : table_print_object(t);
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_(import_done) Import i = { .tar_fd = -EBADF, .write_fd = -EBADF, .error_fd = -EBADF,
                                            .reference = argv[0], .begun = now_usec(CLOCK_MONOTONIC) };
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        i.bus = bus;
        r = open_path(&i, argv[1]);
        if (r == -ENOTTY) {
                fprintf(stderr, "Failed to import image '%s': a terminal is no tar.\n", argv[0]);
                return STATUS_USAGE;
        }
        if (r < 0)
                return report_error(r, NULL, "open '%s'", argv[1]), STATUS_FAILURE;
        r = subscribe(&i);
        if (r >= 0)
                r = call(&i, &error);
        if (r < 0)
                return report_error(r, &error, "import image '%s'", argv[0]);
        r = wait_for_end(&i);
        return r < 0 ? r : print_result(&i);
}

const Verb verb_image_import = {
        .name = "image import",
        .arguments = "NAME[:TAG] PATH",
        .summary = "Make an image from a tar file, standard input (-) or a directory",
        .help = "\nA tar may be compressed by gzip, xz or zstd. A directory is read as a tar with its owners,\n"
                "attributes, hard links, devices and holes, without the file systems mounted in it.\n",
        .min = 2,
        .max = 2,
        .run = run,
};
