/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The calls on the bus that change something, from the answer of polkit until they have ended: at once, when what they wait for is
 * there, or with the job they began. Then each is one entry of the journal (audit.h), and not before, for it says how it ended.
 *
 * Calls of hero-rpcd are not told about: it does so itself, and knows who asked it. For the same reason polkit_trust() gets its uid
 * from here. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>

#include "basic/macro.h"
#include "shared/polkit.h"

typedef struct Audit Audit;
typedef struct AuditCall AuditCall;
TAILQ_HEAD(AuditCalls, AuditCall);

int audit_new(Polkit *polkit, Audit **ret); /* does not keep the Polkit alive */
Audit *audit_free(Audit *a);                /* what is under way has no answer */
DEFINE_TRIVIAL_CLEANUP_FUNC(Audit *, audit_free);

/* Looks for hero-rpcd's user again: it may have been made meanwhile. */
void audit_refresh(Audit *a);

typedef struct AuditWhat {
        const char *interface, *member; /* "VM", "Start" */
        const char *vm, *user, *image;  /* may be NULL; copied */
} AuditWhat;

/* What polkit_check() said about a call that changes something: a refusal is told, a call that may be is remembered until
 * audit_answered(). Returns r, or -ENOMEM. */
int audit_authorised(Audit *a, sd_bus_message *call, const AuditWhat *what, int r, const sd_bus_error *error);

/* The handler of the call has returned r, with error. The entry is written, unless the call waits or is a job's. For calls that are
 * not remembered it is nothing. Returns r. */
int audit_answered(Audit *a, sd_bus_message *call, int r, const sd_bus_error *error);

/* It is answered later: audit_go_on(), the handler once more, audit_answered(). */
void audit_wait(Audit *a, sd_bus_message *call);
void audit_go_on(Audit *a, sd_bus_message *call);

/* After all it changes nothing. */
void audit_drop(Audit *a, sd_bus_message *call);

/* Its end is that of a job, which may be several calls'. vm: of the job, or NULL. */
void audit_give(Audit *a, sd_bus_message *call, const char *vm, struct AuditCalls *calls);

/* error: name, NULL when the job is done. */
void audit_end(struct AuditCalls *calls, const char *error, const char *text);
