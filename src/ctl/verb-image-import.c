/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl image import: hands an image to the image service as one stream: an archive or standard input as the
 * descriptor itself, a directory (a root file system, or an OCI layout) as a tar that a child process writes while the
 * service reads. What is in the stream, the service finds out. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/image-job.h"
#include "ctl/progress.h"
#include "ctl/sanitize.h"
#include "ctl/spec.h"
#include "ctl/tar-stream.h"

#define PIPE_SIZE (1024 * 1024)
#define ERROR_MAX 4096u

static const char *arg_platform = NULL;

typedef struct Import {
        ImageJob *job;
        const char *reference;
        int tar_fd;        /* what the service reads */
        uint64_t tar_size; /* 0: unknown */
        int write_fd;      /* of a directory: held open until the child has succeeded, see on_child() */
        int error_fd;      /* what the child has to say */
        pid_t child;
} Import;

static void import_done(Import *i) {
        if (i->child > 0) {
                kill(i->child, SIGKILL);
                while (waitpid(i->child, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        image_job_free(i->job);
        safe_close(i->tar_fd);
        safe_close(i->write_fd);
        safe_close(i->error_fd);
}

static void on_canceled(ImageJob *j, void *userdata) {
        Import *i = userdata;

        i->write_fd = safe_close(i->write_fd); /* nobody takes its end for the tar's any more */
}

static void report_child(Import *i) {
        _cleanup_free_ char *clean = NULL;
        char text[ERROR_MAX + 1] = "";
        ssize_t n;

        n = read(i->error_fd, text, ERROR_MAX);
        text[n > 0 ? n : 0] = 0;
        clean = sanitize_line(text[0] ? text : "the process that reads the directory was killed");
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
        progress_clear();
        report_child(i);
        image_job_fail(i->job, -EIO);
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
        (void) signal(SIGINT, SIG_IGN); /* typed Ctrl-C, and the terminal's end, are the parent's business */
        (void) signal(SIGHUP, SIG_IGN);
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

static int call(Import *i, sd_bus *bus, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *m = NULL;
        const char *job;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Import");
        if (r >= 0)
                r = sd_bus_message_append(m, "sh", i->reference, i->tar_fd);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && arg_platform)
                r = append_variant(m, "Platform", "s", arg_platform);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = image_job_call(i->job, m, error, &job);
        if (r < 0)
                return r;
        sd_bus_message_unref(TAKE_PTR(m)); /* it has a duplicate of the descriptor */
        i->tar_fd = safe_close(i->tar_fd); /* of a pipe, the service alone holds its end */
        image_job_set_input_size(i->job, i->tar_size);
        return r;
}

static int wait_for_end(Import *i, const char **ret_digest) {
        sigset_t ss;
        int r;

        sigemptyset(&ss);
        sigaddset(&ss, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &ss, NULL) < 0)
                return negative_errno();
        image_job_on_canceled(i->job, on_canceled, i);
        if (i->child > 0) {
                r = sd_event_add_child(image_job_event(i->job), NULL, i->child, WEXITED, on_child, i);
                if (r < 0)
                        return r;
        }
        return image_job_run(i->job, ret_digest);
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_(import_done) Import i = { .tar_fd = -EBADF, .write_fd = -EBADF, .error_fd = -EBADF,
                                            .reference = argv[0] };
        const char *digest;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = open_path(&i, argv[1]);
        if (r == -ENOTTY) {
                fprintf(stderr, "Failed to import image '%s': a terminal is no tar.\n", argv[0]);
                return STATUS_USAGE;
        }
        if (r < 0)
                return report_error(r, NULL, "open '%s'", argv[1]), STATUS_FAILURE;
        r = image_job_new(bus, "import", "Importing", argv[0], false, &i.job);
        if (r >= 0)
                r = call(&i, bus, &error);
        if (r < 0)
                return report_error(r, &error, "import image '%s'", argv[0]);
        r = wait_for_end(&i, &digest);
        return r < 0 ? r : image_job_print(argv[0], digest, NULL);
}

static const Option options[] = {
        { 0, "platform", "OS/ARCH", OPTION_STRING, &arg_platform, "Of an image for several: this one" },
        {},
};

const Verb verb_image_import = {
        .name = "image import",
        .arguments = "NAME[:TAG] PATH",
        .summary = "Make an image of a tar, an image archive or a directory",
        .help = "\nPATH is a root file system (a tar file, or '-' for a tar on standard input, or a directory), an OCI layout\n"
                "(a directory or an archive of it) or what 'docker save' and 'podman save' write. A tar of a root file system may\n"
                "be compressed by gzip, bzip2, xz, lz4 or zstd. A directory is read with its owners, attributes, hard links,\n"
                "devices and holes, without the file systems mounted in it.\n",
        .options = options,
        .min = 2,
        .max = 2,
        .run = run,
};
