/* SPDX-License-Identifier: Apache-2.0 */

/* Running skopeo, see the header. Owned by fetch-main.c. */

#include "imaged/fetch-skopeo.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/fetch-words.h"
#include "imaged/oci-manifest.h"
#include "shared/log.h"

#define LOG "log"
#define LOG_MAX (1024u * 1024u)
#define REGISTRIES_MAX (64u * 1024u) /* what else is in the directory of an inspect */
#define LOOK_INTERVAL (100 * USEC_PER_MSEC)
#define POLICY "/etc/containers/policy.json"

struct Skopeo {
        SkopeoRequest request;
        pid_t pid; /* and process group; 0 once it is reaped */
        sd_event_source *exit_source, *look_source;
        uint64_t bytes, last_growth;
        unsigned blobs;
        FetchError killed; /* why we ended it, with a sentence; < 0: we did not */
        char sentence[FETCH_SENTENCE_MAX];
};

Skopeo *skopeo_free(Skopeo *s) {
        if (!s)
                return NULL;
        sd_event_source_disable_unref(s->exit_source);
        sd_event_source_disable_unref(s->look_source);
        if (s->pid > 0) {
                (void) kill(-s->pid, SIGKILL);
                (void) waitpid(s->pid, NULL, 0); /* was just killed: this waits for nothing it does */
        }
        return mfree(s);
}

/* $HERO_SKOPEO is for tests. */
static const char *skopeo_path(void) {
        return secure_getenv("HERO_SKOPEO") ?: "/usr/bin/skopeo";
}

static int make_environment(const SkopeoRequest *q, char ***ret) {
        static const char *const inherited[] = { "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
                                                 "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR" };
        int r;

        r = strv_extend(ret, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
        if (r >= 0)
                r = strv_extend(ret, "LANG=C.UTF-8");
        if (r >= 0)
                r = strv_extendf(ret, "HOME=%s", q->directory);
        if (r >= 0)
                r = strv_extendf(ret, "TMPDIR=%s", q->directory);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(inherited); i++) {
                const char *value = secure_getenv(inherited[i]);

                if (value)
                        r = strv_extendf(ret, "%s=%s", inherited[i], value);
        }
        return r;
}

/* No secret is ever in here: everybody can read the command lines of all. */
static int make_arguments(const SkopeoRequest *q, char ***ret) {
        int r;

        r = strv_extend(ret, skopeo_path());
        if (r >= 0)
                r = strv_extend(ret, "--debug");
        if (r >= 0)
                r = strv_extendf(ret, "--registries-conf=%s/" SKOPEO_REGISTRIES, q->directory);
        if (r >= 0)
                r = strv_extendf(ret, "--tmpdir=%s", q->directory);
        /* Where the administrator says which images are to be trusted, that holds for us, too. */
        if (r >= 0 && access(POLICY, F_OK) < 0)
                r = strv_extend(ret, "--insecure-policy");
        if (r >= 0)
                r = strv_extend(ret, q->copy ? "copy" : "inspect");
        if (r >= 0)
                r = strv_extend(ret, q->copy ? "--preserve-digests" : "--raw");
        if (r >= 0 && q->auth_file)
                r = strv_extendf(ret, q->copy ? "--src-authfile=%s" : "--authfile=%s", q->auth_file);
        if (r >= 0)
                r = strv_extendf(ret, "docker://%s", q->location);
        if (r >= 0 && q->copy)
                r = strv_extendf(ret, "oci:%s/" SKOPEO_IMAGE, q->directory);
        return r;
}

static void limit(int resource, rlim_t value) {
        struct rlimit l = { value, value };

        (void) setrlimit(resource, &l); /* what is written is looked at besides */
}

_Noreturn static void child(char *const *argv, char *const *envp, int out_fd, int log_fd, uint64_t max_bytes, pid_t parent) {
        sigset_t none;
        int null_fd;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        (void) setpgid(0, 0);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        limit(RLIMIT_CORE, 0);
        limit(RLIMIT_FSIZE, (rlim_t) (max_bytes + LOG_MAX));
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(out_fd >= 0 ? out_fd : null_fd, STDOUT_FILENO) < 0 ||
            dup2(log_fd, STDERR_FILENO) < 0 || close_range(3, ~0u, 0) < 0)
                _exit(EXIT_FAILURE);
        (void) execve(argv[0], argv, envp);
        dprintf(STDERR_FILENO, "%s cannot be executed: %s. Is skopeo installed?\n", argv[0], strerror(errno));
        _exit(EXIT_FAILURE);
}

/* One directory of what it writes, if it is made yet; not those in it. */
static int measure_directory(int dir_fd, const char *name, uint64_t *bytes, unsigned *blobs) {
        _cleanup_closedir_ DIR *d = NULL;
        int r;

        r = open_directory_stream(dir_fd, name, &d);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (struct dirent *e; (e = readdir(d));) {
                struct stat st;

                /* That it talks does not mean that it goes on. */
                if (streq(e->d_name, LOG) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                    !S_ISREG(st.st_mode))
                        continue;
                *bytes += (uint64_t) st.st_size;
                *blobs += strlen(e->d_name) == DIGEST_HEX_LENGTH;
        }
        return 0;
}

/* What has been written so far. A blob is among the others, with its digest as name, when it is complete. */
static int measure(const Skopeo *s, uint64_t *ret_bytes, unsigned *ret_blobs) {
        int r, fd = s->request.dir_fd;

        *ret_bytes = 0;
        *ret_blobs = 0;
        if (!s->request.copy)
                return measure_directory(fd, ".", ret_bytes, ret_blobs);
        r = measure_directory(fd, SKOPEO_IMAGE, ret_bytes, ret_blobs);
        return r < 0 ? r : measure_directory(fd, SKOPEO_BLOBS, ret_bytes, ret_blobs);
}

static char *read_log(const Skopeo *s) {
        char *text = NULL;

        if (read_full_file(s->request.dir_fd, LOG, 16 * LOG_MAX, &text, NULL) < 0)
                return strdup("");
        return text;
}

_printf_(3, 4) static void end(Skopeo *s, FetchError why, const char *format, ...) {
        va_list ap;

        if ((int) s->killed >= 0)
                return;
        va_start(ap, format);
        (void) vsnprintf(s->sentence, sizeof(s->sentence), format, ap);
        va_end(ap);
        s->killed = why;
        (void) kill(-s->pid, SIGKILL);
}

static void end_stalled(Skopeo *s) {
        _cleanup_free_ char *log = read_log(s);
        char span[FORMAT_TIMESPAN_MAX];

        (void) format_timespan(span, s->request.config->stall_timeout);
        if (log && fetch_words_are_patience(log))
                end(s, FETCH_FAILED, "The registry of %.300s has had too many requests and wanted more patience than %s; try "
                                     "again later.",
                                s->request.location, span);
        else
                end(s, FETCH_FAILED, "The registry of %.300s did not send anything for %s.", s->request.location, span);
}

static void check_disk(Skopeo *s) {
        char keep[FORMAT_BYTES_MAX];
        struct statvfs v;

        if (fstatvfs(s->request.dir_fd, &v) >= 0 &&
            (uint64_t) v.f_bavail * v.f_frsize < s->request.config->keep_free)
                end(s, FETCH_NO_SPACE, "Less than KeepFree=%s would stay free on the disk.",
                                format_bytes(keep, s->request.config->keep_free));
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        uint64_t now = now_usec(CLOCK_MONOTONIC), bytes = 0, stall;
        unsigned blobs = 0;
        Skopeo *s = userdata;
        int r;

        stall = s->request.config->stall_timeout;
        if (measure(s, &bytes, &blobs) >= 0 && (bytes != s->bytes || blobs != s->blobs)) {
                s->last_growth = now;
                s->bytes = bytes;
                s->blobs = blobs;
                if (s->request.copy)
                        s->request.progress(bytes, blobs, s->request.userdata);
        }
        if (bytes > s->request.max_bytes + (s->request.copy ? 0 : REGISTRIES_MAX))
                end(s, FETCH_TOO_LARGE, "The registry sends more than %.300s is said to have.", s->request.location);
        check_disk(s);
        if (stall != USEC_INFINITY && now - s->last_growth > stall)
                end_stalled(s);
        r = sd_event_source_set_time_relative(source, LOOK_INTERVAL);
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_exit_of_skopeo(sd_event_source *source, const siginfo_t *si, void *userdata) {
        _cleanup_(skopeo_freep) Skopeo *s = userdata;
        FetchError e = s->killed;

        (void) kill(-s->pid, SIGKILL); /* whatever it started */
        s->pid = 0;
        if ((int) e < 0 && (si->si_code != CLD_EXITED || si->si_status != 0)) {
                _cleanup_free_ char *log = read_log(s);

                e = fetch_words(strempty(log), s->request.location, s->request.copy, s->request.auth_file,
                                s->sentence);
        }
        s->request.done(e, s->sentence, s->request.userdata);
        return 0;
}

static int start(Skopeo *s) {
        _cleanup_close_ int log_fd = -EBADF, out_fd = -EBADF;
        _cleanup_strv_free_ char **argv = NULL, **envp = NULL;
        const SkopeoRequest *q = &s->request;
        pid_t parent = getpid();
        int r;

        r = make_arguments(q, &argv);
        if (r >= 0)
                r = make_environment(q, &envp);
        if (r < 0)
                return r;
        log_fd = openat(q->dir_fd, LOG, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0)
                return negative_errno();
        if (!q->copy) {
                out_fd = openat(q->dir_fd, SKOPEO_DOCUMENT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                if (out_fd < 0)
                        return negative_errno();
        }
        s->pid = fork();
        if (s->pid < 0) {
                s->pid = 0;
                return negative_errno();
        }
        if (s->pid == 0)
                child(argv, envp, out_fd, log_fd, q->max_bytes, parent);
        (void) setpgid(s->pid, s->pid); /* whoever is first */
        return 0;
}

int skopeo_run(sd_event *event, const SkopeoRequest *request, Skopeo **ret) {
        _cleanup_(skopeo_freep) Skopeo *s = NULL;
        int r;

        s = new0(Skopeo, 1);
        if (!s)
                return -ENOMEM;
        s->request = *request;
        s->killed = _FETCH_ERROR_INVALID;
        s->last_growth = now_usec(CLOCK_MONOTONIC);
        r = start(s);
        if (r >= 0)
                r = sd_event_add_child(event, &s->exit_source, s->pid, WEXITED, on_exit_of_skopeo, s);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &s->look_source, CLOCK_MONOTONIC, LOOK_INTERVAL, 0, on_look, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}
