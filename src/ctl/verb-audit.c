/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl audit: who changed what, from the system's journal; --follow: and what comes. No service is asked. */

#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/audit-journal.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"
#include "ctl/time-text.h"

#define LINES_DEFAULT 100u

static const char *arg_user, *arg_vm, *arg_action, *arg_since, *arg_until;
static unsigned arg_lines = 0;
static bool arg_follow = false;

static const Column columns[] = {
        { "TIME", "time", COLUMN_TIME },
        { "WHO", "who", COLUMN_STRING, COLUMN_TEXT_ONLY },
        { "UID", "uid", COLUMN_LIMIT, COLUMN_JSON_ONLY },
        { "SUBJECT", "subject", COLUMN_STRING, COLUMN_JSON_ONLY },
        { "ROAD", "road", COLUMN_STRING },
        { "ACTION", "action", COLUMN_STRING },
        { "OF", "of", COLUMN_STRING, COLUMN_TEXT_ONLY },
        { "VM", "vm", COLUMN_STRING, COLUMN_JSON_ONLY },
        { "IMAGE", "image", COLUMN_STRING, COLUMN_JSON_ONLY },
        { "USER", "user", COLUMN_STRING },
        { "RESULT", "result", COLUMN_STRING },
        { "TOOK", "duration-usec", COLUMN_TIMESPAN },
        { "ERROR", "error", COLUMN_STRING, COLUMN_WRAP },
};

/* Its login name may be known here though it was not there. */
static const char *who(const AuditRecord *a, char *buf, size_t size) {
        const struct passwd *p;

        if (!isempty(a->subject))
                return a->subject;
        if (a->uid == UINT64_MAX)
                return NULL;
        p = arg_json == JSON_OFF ? getpwuid((uid_t) a->uid) : NULL;
        if (p)
                (void) snprintf(buf, size, "%s", p->pw_name);
        else
                (void) snprintf(buf, size, "uid %u", (unsigned) a->uid);
        return buf;
}

static int add(Table *t, const AuditRecord *a) {
        char buf[64];

        return table_add(t, a->time, who(a, buf, sizeof(buf)), a->uid, a->subject, a->road, a->action, a->vm ?: a->image, a->vm,
                         a->image, a->user, a->result, a->duration, a->error);
}

static int print_line(const AuditRecord *a) {
        char local[LOCAL_TIME_MAX], buf[64], span[FORMAT_TIMESPAN_MAX];
        _cleanup_free_ char *clean = NULL, *line = NULL;
        const char *of = a->vm ?: a->image;

        line = strprintf("%s by %s: %s%s%s: %s after %s%s%s", strna(a->road), strna(who(a, buf, sizeof(buf))), strna(a->action),
                         of ? " of " : "", strempty(of), strna(a->result), format_timespan(span, a->duration),
                         a->error ? ": " : "", strempty(a->error));
        clean = line ? sanitize_line(line) : NULL;
        if (!clean)
                return -ENOMEM;
        printf("%s %s\n", format_local_time(local, a->time), clean);
        return 0;
}

static int print_json_line(const AuditRecord *a) {
        _cleanup_table_ Table *t = NULL;
        int r;

        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r >= 0)
                r = add(t, a);
        return r < 0 ? r : table_print_lines(t);
}

/* t NULL: a line each, at once. */
static int show(sd_journal *j, const AuditFilter *f, Table *t) {
        int r;

        for (;;) {
                _cleanup_(audit_record_done) AuditRecord a = {};

                r = audit_journal_next(j, f, &a);
                if (r <= 0)
                        return r;
                r = t ? add(t, &a) : arg_json == JSON_OFF ? print_line(&a) : print_json_line(&a);
                if (r >= 0 && !t && fflush(stdout) != 0)
                        r = negative_errno();
                if (r < 0)
                        return r;
        }
}

typedef struct Follow {
        sd_journal *journal;
        const AuditFilter *filter;
} Follow;

static int on_journal(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Follow *f = userdata;
        int r;

        r = sd_journal_process(f->journal);
        if (r >= 0)
                r = show(f->journal, f->filter, NULL);
        return r < 0 ? sd_event_exit(sd_event_source_get_event(s), r) : 0;
}

static int on_hangup(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        return sd_event_exit(sd_event_source_get_event(s), -EPIPE);
}

static int follow(Follow *f) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        int r, fd;

        (void) signal(SIGPIPE, SIG_IGN); /* -EPIPE says it */
        r = sd_event_new(&event);
        if (r < 0)
                return r;
        fd = sd_journal_get_fd(f->journal);
        if (fd < 0)
                return fd;
        r = sd_event_add_io(event, NULL, fd, (uint32_t) sd_journal_get_events(f->journal), on_journal, f);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, NULL, STDOUT_FILENO, 0, on_hangup, NULL); /* … | head -1 */
        if (r < 0 && r != -EPERM)
                return r;
        r = show(f->journal, f->filter, NULL); /* also what came since the watch began */
        return r < 0 ? r : sd_event_loop(event);
}

static int parse_time(const char *s, const char *option, uint64_t *ret) {
        int r;

        if (!s)
                return 0;
        r = time_text_parse(s, now_usec(CLOCK_REALTIME), ret);
        if (r < 0)
                fprintf(stderr, "--%s=%s is no time, like '2026-11-21 12:00', 'today' or '1h ago'.\n", option, s);
        return r < 0 ? -EINVAL : 0;
}

static int read_filter(AuditFilter *f) {
        int r;

        *f = (AuditFilter) { .user = arg_user, .vm = arg_vm, .action = arg_action, .until = UINT64_MAX };
        r = parse_time(arg_since, "since", &f->since);
        if (r >= 0)
                r = parse_time(arg_until, "until", &f->until);
        if (r >= 0 && arg_follow && arg_until) {
                fprintf(stderr, "What comes has no end: --follow and --until do not go together.\n");
                return -EINVAL;
        }
        return r;
}

static int report_journal(int r) {
        if (r == -EACCES)
                fprintf(stderr, "You may not read the system's journal, which this is kept in. Root may, and so may members of the "
                                "groups systemd-journal and adm.\n");
        else if (r == -ENOENT)
                fprintf(stderr, "This host has no journal: is systemd-journald running?\n");
        else
                fprintf(stderr, "Failed to read the journal: %s\n", strerror(-r));
        return status_from_errno(r);
}

static int run(int argc, char **argv) {
        _cleanup_(sd_journal_closep) sd_journal *j = NULL;
        _cleanup_table_ Table *t = NULL;
        AuditFilter f;
        int r;

        r = read_filter(&f);
        if (r < 0)
                return r;
        r = audit_journal_open(&f, &j);
        if (r >= 0)
                r = audit_journal_seek(j, &f, arg_lines ?: arg_since ? UINT64_MAX : LINES_DEFAULT);
        if (r >= 0 && arg_follow)
                r = follow(&(Follow) { j, &f });
        else if (r >= 0) {
                r = table_new(columns, ELEMENTSOF(columns), &t);
                if (r >= 0)
                        r = show(j, &f, t);
                if (r >= 0)
                        r = table_print(t, "changes");
        }
        if (r == -EPIPE)
                return STATUS_SIGNAL + SIGPIPE;
        return r < 0 ? report_journal(r) : 0;
}

static const Option options[] = {
        { 'u', "user", "USER", OPTION_STRING, &arg_user, "Only what was done to this user's VM" },
        { 0, "vm", "VM", OPTION_STRING, &arg_vm, "Only what was done to this VM" },
        { 0, "action", "ACTION", OPTION_STRING, &arg_action, "Only this, like VM.Start, user.start or 'VM.*'" },
        { 'S', "since", "TIME", OPTION_STRING, &arg_since, "Only from this time on" },
        { 'U', "until", "TIME", OPTION_STRING, &arg_until, "Only up to this time" },
        { 'n', "lines", "N", OPTION_COUNT, &arg_lines, "The last N (default: 100, with --since all)" },
        { 'f', "follow", NULL, OPTION_FLAG, &arg_follow, "Go on with what comes, until interrupted" },
        {},
};

const Verb verb_audit = {
        .name = "audit",
        .arguments = "",
        .summary = "Show who changed what, from the journal",
        .options = options,
        .run = run,
};
