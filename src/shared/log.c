/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION 1
#include <systemd/sd-journal.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

static int max_level = LOG_INFO;
static LogTarget target = LOG_TARGET_AUTO;
static const char *identifier = "hero-compute";
static int stderr_is_journal = -1;

static const char *const log_target_table[_LOG_TARGET_MAX] = {
        [LOG_TARGET_AUTO] = "auto",
        [LOG_TARGET_CONSOLE] = "console",
        [LOG_TARGET_JOURNAL] = "journal",
        [LOG_TARGET_NULL] = "null",
};
DEFINE_STRING_TABLE_LOOKUP(log_target, LogTarget);

static const char *const level_table[] = {
        [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
        [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

int log_level_from_string(const char *s) {
        if (s[0] >= '0' && s[0] <= '7' && !s[1])
                return s[0] - '0';
        for (size_t i = 0; i < ELEMENTSOF(level_table); i++)
                if (streq(s, level_table[i]))
                        return (int) i;
        return -EINVAL;
}

const char *log_level_to_string(int level) {
        return level >= 0 && (size_t) level < ELEMENTSOF(level_table) ? level_table[level] : NULL;
}

void log_set_max_level(int level) {
        max_level = level;
}

int log_get_max_level(void) {
        return max_level;
}

void log_set_target(LogTarget t) {
        target = t;
}

LogTarget log_get_target(void) {
        return target;
}

const char *log_get_identifier(void) {
        return identifier;
}

void log_setup(const char *id) {
        const char *e;

        identifier = id;
        e = getenv("HERO_LOG_LEVEL");
        if (e && log_level_from_string(e) >= 0)
                max_level = log_level_from_string(e);
        e = getenv("HERO_LOG_TARGET");
        if (e && (int) log_target_from_string(e) >= 0)
                target = log_target_from_string(e);
}

/* $JOURNAL_STREAM is "device:inode" of the socket systemd connected stderr to (systemd.exec(5)). */
static bool journal_wanted(void) {
        unsigned long long dev, ino;
        const char *e;
        struct stat st;

        if (target != LOG_TARGET_AUTO)
                return target == LOG_TARGET_JOURNAL;
        if (stderr_is_journal < 0) {
                e = getenv("JOURNAL_STREAM");
                stderr_is_journal = e && sscanf(e, "%llu:%llu", &dev, &ino) == 2 &&
                        fstat(STDERR_FILENO, &st) >= 0 && st.st_dev == dev && st.st_ino == ino;
        }
        return stderr_is_journal;
}

static void field(struct iovec *iov, int *n, char *buf, size_t size, const char *format, ...) _printf_(5, 6);
static void field(struct iovec *iov, int *n, char *buf, size_t size, const char *format, ...) {
        va_list ap;
        int k;

        va_start(ap, format);
        k = vsnprintf(buf, size, format, ap);
        va_end(ap);
        if (k < 0)
                return;
        iov[(*n)++] = (struct iovec) { buf, MIN2((size_t) k, size - 1) };
}

static void log_to_stderr(int level, const char *vm, const char *message) {
        /* The prefix is sd-daemon(3)'s, for a supervisor that reads stderr; a terminal needs none. */
        if (isatty(STDERR_FILENO) || target == LOG_TARGET_CONSOLE)
                fprintf(stderr, "%s\n", message);
        else
                fprintf(stderr, "<%d>%s%s%s\n", level, vm ? vm : "", vm ? ": " : "", message);
}

int log_full(int level, int error, const char *file, int line, const char *func, const char *vm, const char *user,
             const char *message_id, const char *format, ...) {
        char message[2048], f_message[2100], f_file[128], f_line[32], f_func[96], f_prio[16], f_id[96],
                f_vm[96], f_user[96], f_mid[64], f_errno[32];
        struct iovec iov[10];
        int n = 0;
        va_list ap;

        error = error < 0 ? -error : error;
        if (level > max_level || target == LOG_TARGET_NULL)
                return -error;
        errno = error;
        va_start(ap, format);
        if (vsnprintf(message, sizeof(message), format, ap) < 0)
                message[0] = 0;
        va_end(ap);

        if (!journal_wanted()) {
                log_to_stderr(level, vm, message);
                return -error;
        }
        field(iov, &n, f_message, sizeof(f_message), "MESSAGE=%s", message);
        field(iov, &n, f_prio, sizeof(f_prio), "PRIORITY=%d", level);
        field(iov, &n, f_id, sizeof(f_id), "SYSLOG_IDENTIFIER=%s", identifier);
        field(iov, &n, f_file, sizeof(f_file), "CODE_FILE=%s", file);
        field(iov, &n, f_line, sizeof(f_line), "CODE_LINE=%d", line);
        field(iov, &n, f_func, sizeof(f_func), "CODE_FUNC=%s", func);
        if (error > 0)
                field(iov, &n, f_errno, sizeof(f_errno), "ERRNO=%d", error);
        if (vm)
                field(iov, &n, f_vm, sizeof(f_vm), "HERO_VM=%s", vm);
        if (!isempty(user))
                field(iov, &n, f_user, sizeof(f_user), "HERO_USER=%s", user);
        if (message_id)
                field(iov, &n, f_mid, sizeof(f_mid), "MESSAGE_ID=%s", message_id);
        (void) sd_journal_sendv(iov, n);
        return -error;
}

void log_fields(int level, const char *message_id, const char *const *fields, size_t n_fields, const char *message) {
        char f_message[2100], f_prio[16], f_id[96], f_mid[64];
        struct iovec iov[4 + LOG_FIELDS_MAX];
        int n = 0;

        if (target == LOG_TARGET_NULL)
                return;
        if (!journal_wanted()) {
                log_to_stderr(level, NULL, message);
                return;
        }
        field(iov, &n, f_message, sizeof(f_message), "MESSAGE=%s", message);
        field(iov, &n, f_prio, sizeof(f_prio), "PRIORITY=%d", level);
        field(iov, &n, f_id, sizeof(f_id), "SYSLOG_IDENTIFIER=%s", identifier);
        field(iov, &n, f_mid, sizeof(f_mid), "MESSAGE_ID=%s", message_id);
        for (size_t i = 0; i < MIN2(n_fields, LOG_FIELDS_MAX); i++)
                iov[n++] = (struct iovec) { (char *) fields[i], strlen(fields[i]) };
        (void) sd_journal_sendv(iov, n);
}
