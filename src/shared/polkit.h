/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who may: asynchronous authorisation of a method call, with public libsystemd only.
 *
 * A handler calls polkit_check() before its first side effect. It returns 1 (go on), < 0 (refused, error is set), or
 * 0: the answer is not there yet; the handler returns 1 without replying, and the same call is dispatched again
 * from the beginning when it is. The object is looked up afresh then and the arguments are read again, so whatever changed while
 * a person typed a password is seen; if the question itself changed meanwhile, the call fails.
 *
 * Three questions are asked, none of them blocking: the bus (whose uid is behind this unique name; remembered, because it
 * never changes), NSS (the login name of that uid; by getent in a child, for NSS may go to the network; remembered for a minute; only where an
 * owner matters) and polkit. Root needs no polkit, nor does who is trusted. Everything that fails, refuses. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

#define UID_INVALID ((uid_t) -1)

typedef struct Polkit Polkit;

int polkit_new(sd_bus *bus, Polkit **ret);
Polkit *polkit_free(Polkit *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Polkit *, polkit_free);

/* Who has found out already whom it speaks for, and whether he may: hero-rpcd. polkit would answer yes to all of its calls, but takes
 * milliseconds for each, and answers only so many of one user at a time. UID_INVALID: nobody. */
void polkit_trust(Polkit *p, uid_t uid);

/* True while no call waits for an answer, so that the process may end. */
bool polkit_is_idle(const Polkit *p);

typedef struct PolkitQuestion {
        const char *action;      /* for anybody's object */
        const char *own_action;  /* for the caller's own one; NULL: there is no such thing */
        const char *owner;       /* login name of the object's owner; NULL or "": none */
        const char *vm, *user, *verb; /* details for administrators' rules; may be NULL */
} PolkitQuestion;

int polkit_check(Polkit *p, sd_bus_message *call, const PolkitQuestion *question, sd_bus_error *error);

/* The uid behind the call, once polkit_check() has returned 1. UID_INVALID otherwise. */
uid_t polkit_sender_uid(Polkit *p, sd_bus_message *call);

/* Its login name, if it is known without asking; NULL. */
const char *polkit_login(Polkit *p, uid_t uid);

/* When the call came, CLOCK_MONOTONIC: it may have been dispatched several times. */
uint64_t polkit_call_begun(Polkit *p, sd_bus_message *call);

/* The same, when no polkit question is to be asked: 1 the uid is in *ret; 0 the call is dispatched again; < 0. */
int polkit_get_sender_uid(Polkit *p, sd_bus_message *call, uid_t *ret, sd_bus_error *error);
