/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who changed what: one entry of the journal for each call that changes something, whether it was allowed or not and whichever
 * road it came. Whoever knows who asked writes it: hero-computed and hero-imaged for calls on the bus, hero-rpcd for those it was
 * sent. `heroctl audit` reads them, heroctl(1) says what is in them. */

#include "basic/macro.h"

typedef struct AuditEntry {
        const char *road;      /* "bus", "http", "line", "console" (the socket of one) */
        uid_t uid;             /* of the caller; (uid_t) -1: not known */
        const char *subject;   /* login name, or subject of the token; NULL: not known */
        const char *action;    /* "VM.Start" on the bus, "user.start" over JSON-RPC */
        const char *vm, *user; /* what it was done to, and whose that is; NULL or "": nothing, nobody's */
        const char *image;     /* for what is done to images, its reference; else NULL */
        const char *error;     /* NULL: it was done. Name of the error, with or without what it begins with on the bus */
        const char *text;      /* what the error says; may be NULL */
        uint64_t duration;     /* µs from the call to its end, jobs included */
} AuditEntry;

/* Of calls that came to nothing, a flood is counted: audit-flood.h. Whatever the log level; to the journal with the fields below, else the sentence of audit_message() to stderr. */
void audit_log(const AuditEntry *e);

#define AUDIT_FIELDS_MAX 10u
#define AUDIT_FIELD_SIZE 320u
typedef char AuditFields[AUDIT_FIELDS_MAX][AUDIT_FIELD_SIZE];

/* "AUDIT_ROAD=bus" and so on, of what is known, sanitised and bounded: their number. */
size_t audit_fields(const AuditEntry *e, AuditFields ret);

#define AUDIT_MESSAGE_SIZE 1024u
void audit_message(const AuditEntry *e, char ret[static AUDIT_MESSAGE_SIZE]);

#define AUDIT_OK "ok"
#define AUDIT_REFUSED "refused"
#define AUDIT_COUNTED "Counted"

/* What AUDIT_RESULT= says: "ok", "refused" when the caller may not, else the error's name without what it begins with. */
const char *audit_result(const char *error);
