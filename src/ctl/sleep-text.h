/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Why a VM is awake or asleep, and when that will change, in words. */

#include "basic/macro.h"

typedef struct SleepStatus {
        const char *state, *awake_reason; /* the service's words */
        uint64_t since;                   /* of the state; times are CLOCK_REALTIME, 0: none */
        uint64_t idle_since;              /* 0: it is busy */
        uint64_t sleep_at;                /* UINT64_MAX: never */
        uint64_t held_until;
        uint64_t idle_timeout, hibernate_delay; /* UINT64_MAX: never; 0: not known */
        uint64_t kept;                    /* bytes of its memory that are kept although it is on disk */
        bool has_address;
} SleepStatus;

/* *ret_label is "Awake", "Idle" or "Asleep", *ret_text allocated. 0: there is nothing to say (it is stopped, on its way,
 * …). */
int sleep_describe(const SleepStatus *s, uint64_t now, const char **ret_label, char **ret_text);

/* "suspended after 5min 0s, hibernated 1h 0min later"; NULL: out of memory. */
char *sleep_policy_describe(const SleepStatus *s);
