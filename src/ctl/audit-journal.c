/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/audit-journal.h"

#include <fnmatch.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/catalog-ids.h"

/* Written by journald itself. hero-computed is root; the others have users of their own, whose number is not ours to know. */
static const char *const trusted[] = {
        "_UID=0",
        "_SYSTEMD_UNIT=hero-imaged.service",
        "_SYSTEMD_UNIT=hero-rpcd.service",
};

static const struct {
        const char *name;
        size_t offset;
} text_fields[] = {
        { "AUDIT_ROAD", offsetof(AuditRecord, road) },     { "AUDIT_SUBJECT", offsetof(AuditRecord, subject) },
        { "AUDIT_ACTION", offsetof(AuditRecord, action) }, { "HERO_VM", offsetof(AuditRecord, vm) },
        { "HERO_USER", offsetof(AuditRecord, user) },      { "HERO_IMAGE", offsetof(AuditRecord, image) },
        { "AUDIT_RESULT", offsetof(AuditRecord, result) }, { "AUDIT_ERROR", offsetof(AuditRecord, error) },
};

static char **text_field(AuditRecord *r, size_t i) {
        return (char **) ((char *) r + text_fields[i].offset);
}

void audit_record_done(AuditRecord *r) {
        for (size_t i = 0; i < ELEMENTSOF(text_fields); i++)
                *text_field(r, i) = mfree(*text_field(r, i));
}

/* sd_journal_open() leaves files out that it may not read, and says nothing. */
static int check_access(void) {
        static const char *const directories[] = { "/var/log/journal", "/run/log/journal" };
        char id[SD_ID128_STRING_MAX];
        bool denied = false;
        sd_id128_t machine;
        int r;

        r = sd_id128_get_machine(&machine);
        if (r < 0)
                return r;
        sd_id128_to_string(machine, id);
        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                char path[128];

                (void) snprintf(path, sizeof(path), "%s/%s/system.journal", directories[i], id);
                if (access(path, R_OK) >= 0)
                        return 0;
                denied = denied || errno == EACCES;
        }
        return denied ? -EACCES : -ENOENT;
}

static int add_match(sd_journal *j, const char *name, const char *value) {
        _cleanup_free_ char *match = NULL;

        if (!value)
                return 0;
        match = strprintf("%s=%s", name, value);
        return match ? sd_journal_add_match(j, match, 0) : -ENOMEM;
}

static bool is_pattern(const char *s) {
        return s[strcspn(s, "*?[")];
}

static int add_matches(sd_journal *j, const AuditFilter *f) {
        int r;

        r = add_match(j, "MESSAGE_ID", CATALOG_AUDIT);
        if (r >= 0)
                r = add_match(j, "HERO_VM", f->vm);
        if (r >= 0)
                r = add_match(j, "HERO_USER", f->user);
        if (r >= 0 && f->action && !is_pattern(f->action))
                r = add_match(j, "AUDIT_ACTION", f->action);
        if (r >= 0)
                r = sd_journal_add_conjunction(j);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(trusted); i++) {
                r = sd_journal_add_match(j, trusted[i], 0);
                if (r >= 0)
                        r = sd_journal_add_disjunction(j);
        }
        return r;
}

int audit_journal_open(const AuditFilter *f, sd_journal **ret) {
        sd_journal *j = NULL;
        int r;

        r = check_access();
        if (r >= 0)
                r = sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
        if (r >= 0)
                r = add_matches(j, f);
        if (r < 0) {
                sd_journal_close(j);
                return r;
        }
        *ret = j;
        return 0;
}

/* The value is not terminated. */
static char *get_text(sd_journal *j, const char *name) {
        size_t size, before = strlen(name) + 1;
        const void *data;

        if (sd_journal_get_data(j, name, &data, &size) < 0 || size < before)
                return NULL;
        return strndup((const char *) data + before, size - before);
}

static uint64_t get_number(sd_journal *j, const char *name, uint64_t fallback) {
        _cleanup_free_ char *s = get_text(j, name);
        uint64_t v;

        return s && parse_uint64(s, &v) >= 0 ? v : fallback;
}

/* What journald's index does not know. */
static bool is_meant(sd_journal *j, const AuditFilter *f) {
        _cleanup_free_ char *action = NULL;

        if (!f->action || !is_pattern(f->action))
                return true;
        action = get_text(j, "AUDIT_ACTION");
        return action && fnmatch(f->action, action, 0) == 0;
}

int audit_journal_seek(sd_journal *j, const AuditFilter *f, uint64_t n) {
        _cleanup_free_ char *cursor = NULL;
        uint64_t time;
        int r;

        r = f->until < UINT64_MAX ? sd_journal_seek_realtime_usec(j, f->until + 1) : sd_journal_seek_tail(j);
        while (r >= 0 && n > 0 && (r = sd_journal_previous(j)) > 0) {
                r = sd_journal_get_realtime_usec(j, &time);
                if (r < 0 || time < f->since)
                        break;
                if (!is_meant(j, f))
                        continue;
                cursor = mfree(cursor);
                r = sd_journal_get_cursor(j, &cursor);
                n--;
        }
        if (r < 0)
                return r;
        /* The one that was found is to be read next. With none, whatever comes. */
        return cursor ? sd_journal_seek_cursor(j, cursor) : sd_journal_seek_realtime_usec(j, now_usec(CLOCK_REALTIME));
}

int audit_journal_next(sd_journal *j, const AuditFilter *f, AuditRecord *ret) {
        AuditRecord a = {};
        int r;

        do
                r = sd_journal_next(j);
        while (r > 0 && !is_meant(j, f));
        if (r <= 0)
                return r;
        r = sd_journal_get_realtime_usec(j, &a.time);
        if (r < 0)
                return r;
        if (a.time > f->until)
                return 0;
        a.uid = get_number(j, "AUDIT_UID", UINT64_MAX);
        a.duration = get_number(j, "AUDIT_DURATION_USEC", 0);
        for (size_t i = 0; i < ELEMENTSOF(text_fields); i++)
                *text_field(&a, i) = get_text(j, text_fields[i].name);
        *ret = a;
        return 1;
}
