/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/audit.h"

#include <inttypes.h>
#include <stdio.h>

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/audit-flood.h"
#include "shared/catalog-ids.h"
#include "shared/log.h"

#define UID_UNKNOWN ((uid_t) -1)

const char *audit_result(const char *error) {
        static const char *const refusals[] = { "AccessDenied", "InteractiveAuthorizationRequired", "PermissionDenied" };
        const char *dot;

        if (isempty(error))
                return AUDIT_OK;
        dot = strrchr(error, '.');
        if (dot && dot[1])
                error = dot + 1;
        for (size_t i = 0; i < ELEMENTSOF(refusals); i++)
                if (streq(error, refusals[i]))
                        return AUDIT_REFUSED;
        return error;
}

/* Most values were chosen by whoever called. */
static void add(AuditFields fields, size_t *n, const char *name, const char *value) {
        char *f = fields[*n];

        if (isempty(value))
                return;
        /* A cut in the middle of a character becomes '?', as all that is not clean. */
        (void) snprintf(f, AUDIT_FIELD_SIZE, "%s=%s", name, value);
        utf8_sanitize(f);
        (*n)++;
}

size_t audit_fields(const AuditEntry *e, AuditFields ret) {
        char number[24];
        size_t n = 0;

        add(ret, &n, "AUDIT_ROAD", e->road);
        if (e->uid != UID_UNKNOWN) {
                (void) snprintf(number, sizeof(number), "%u", e->uid);
                add(ret, &n, "AUDIT_UID", number);
        }
        add(ret, &n, "AUDIT_SUBJECT", e->subject);
        add(ret, &n, "AUDIT_ACTION", e->action);
        add(ret, &n, "HERO_VM", e->vm);
        add(ret, &n, "HERO_USER", e->user);
        add(ret, &n, "HERO_IMAGE", e->image);
        add(ret, &n, "AUDIT_RESULT", audit_result(e->error));
        if (!isempty(e->error))
                add(ret, &n, "AUDIT_ERROR", e->text);
        (void) snprintf(number, sizeof(number), "%" PRIu64, e->duration);
        add(ret, &n, "AUDIT_DURATION_USEC", number);
        return n;
}

/* Between quotes, which the value must not end: it is a stranger's. */
static void quote(char *buf, size_t size, const char *before, const char *value) {
        size_t n;

        buf[0] = 0;
        if (isempty(value))
                return;
        n = (size_t) snprintf(buf, size, "%s'%.120s'", before, value);
        for (char *p = buf + strlen(before) + 1; p < buf + n - 1; p++)
                if (*p == '\'')
                        *p = '?';
}

void audit_message(const AuditEntry *e, char ret[static AUDIT_MESSAGE_SIZE]) {
        char subject[160], uid[24] = "", vm[160], user[160], image[160], text[320] = "";

        quote(subject, sizeof(subject), "", e->subject);
        if (e->uid != UID_UNKNOWN)
                (void) snprintf(uid, sizeof(uid), "%suid %u%s", subject[0] ? " (" : "", e->uid, subject[0] ? ")" : "");
        quote(vm, sizeof(vm), " of VM ", e->vm);
        quote(user, sizeof(user), " of user ", e->user);
        quote(image, sizeof(image), " of image ", e->image);
        if (!isempty(e->error) && !isempty(e->text))
                (void) snprintf(text, sizeof(text), ": %.300s", e->text);
        (void) snprintf(ret, AUDIT_MESSAGE_SIZE, "Audit: %.80s%s%s%s by %s%s over %.16s: %.80s after %" PRIu64 ".%03u ms%s",
                        strna(e->action), vm, user, image, subject[0] || uid[0] ? subject : "somebody", uid, strna(e->road),
                        audit_result(e->error), e->duration / 1000, (unsigned) (e->duration % 1000), text);
        utf8_sanitize(ret);
}

static void write_entry(const AuditEntry *e) {
        char message[AUDIT_MESSAGE_SIZE];
        const char *list[AUDIT_FIELDS_MAX];
        AuditFields fields;
        size_t n;

        n = audit_fields(e, fields);
        for (size_t i = 0; i < n; i++)
                list[i] = fields[i];
        audit_message(e, message);
        log_fields(isempty(e->error) ? LOG_INFO : LOG_NOTICE, CATALOG_AUDIT, list, n, message);
}

/* In the place of what is not told. */
static void tell_missed(const AuditEntry *e, const char *text) {
        write_entry(&(AuditEntry) { .road = e->road, .uid = e->uid, .subject = e->subject, .action = "several", .error = AUDIT_COUNTED,
                                    .text = text });
}

void audit_log(const AuditEntry *e) {
        uint64_t now = now_usec(CLOCK_MONOTONIC), missed;
        bool begins = false, told;
        char text[96];

        told = isempty(e->error) || !audit_flood_is_nothing(e->error) || audit_flood_allows(e->uid, e->subject, now, &begins);
        if (begins)
                tell_missed(e, "Too many calls of this caller were turned away; from here on they are counted.");
        if (!told)
                return;
        missed = audit_flood_missed(e->uid, e->subject, now);
        if (missed > 0) {
                (void) snprintf(text, sizeof(text), "%" PRIu64 " calls that were turned away were not told one by one.", missed);
                tell_missed(e, text);
        }
        write_entry(e);
}
