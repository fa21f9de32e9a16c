/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The entries of shared/audit.h, read from the system's journal. Anybody may write into the journal what he likes: an entry counts
 * when journald says that it is of root or of a service of ours. */

#include <systemd/sd-journal.h>

#include "basic/macro.h"

typedef struct AuditFilter {
        const char *user, *vm; /* whose, which; NULL: whatever */
        const char *action;    /* with *, ? and [ ] as in glob(7); likewise */
        uint64_t since, until; /* CLOCK_REALTIME; 0 and UINT64_MAX: of any time */
} AuditFilter;

typedef struct AuditRecord {
        uint64_t time;     /* CLOCK_REALTIME */
        uint64_t uid;      /* UINT64_MAX: not known */
        uint64_t duration; /* µs */
        char *road, *subject, *action, *vm, *user, *image, *result, *error; /* may be NULL */
} AuditRecord;

void audit_record_done(AuditRecord *r);

/* -EACCES: the caller may not read it. -ENOENT: there is none. */
int audit_journal_open(const AuditFilter *f, sd_journal **ret);

/* Moves to the last n entries that count (UINT64_MAX: all): audit_journal_next() reads the first of them next. */
int audit_journal_seek(sd_journal *j, const AuditFilter *f, uint64_t n);

/* 1: *ret is the next one, 0: there are no more yet, -errno. */
int audit_journal_next(sd_journal *j, const AuditFilter *f, AuditRecord *ret);
