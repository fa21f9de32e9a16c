/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/sleep-text.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

/* Whole seconds: what is counted here takes minutes. */
static const char *span(char buf[static FORMAT_TIMESPAN_MAX], uint64_t from, uint64_t to) {
        uint64_t s = to > from ? (to - from) / USEC_PER_SEC : 0;

        if (s < 60) {
                (void) snprintf(buf, FORMAT_TIMESPAN_MAX, "%us", (unsigned) s);
                return buf;
        }
        return format_timespan(buf, s * USEC_PER_SEC);
}

static char *describe_idle(const SleepStatus *s, uint64_t now) {
        char since[FORMAT_TIMESPAN_MAX], left[FORMAT_TIMESPAN_MAX];

        span(since, s->idle_since, now);
        if (s->sleep_at == UINT64_MAX || s->sleep_at == 0)
                return strprintf("since %s, is not suspended by itself", since);
        if (s->sleep_at <= now)
                return strprintf("since %s, is about to be suspended", since);
        return strprintf("since %s, will be suspended in %s", since, span(left, now, s->sleep_at));
}

/* What the service gives as the reason comes first; it may not have looked yet. */
static char *describe_awake(const SleepStatus *s, uint64_t now) {
        char left[FORMAT_TIMESPAN_MAX];

        if (!isempty(s->awake_reason))
                return strdup(s->awake_reason);
        if (s->held_until == UINT64_MAX)
                return strdup("held until further notice");
        if (s->held_until > now)
                return strprintf("held for another %s", span(left, now, s->held_until));
        return strdup(s->idle_timeout == UINT64_MAX ? "it is not suspended by itself" : "not known to be idle");
}

static char *describe_suspended(const SleepStatus *s, uint64_t now, const char *wake) {
        char since[FORMAT_TIMESPAN_MAX], left[FORMAT_TIMESPAN_MAX];

        span(since, s->since, now);
        if (s->sleep_at == UINT64_MAX || s->sleep_at == 0)
                return strprintf("suspended %s ago; wakes %s", since, wake);
        return strprintf("suspended %s ago, will be hibernated in %s; wakes %s", since, span(left, now, s->sleep_at), wake);
}

static char *describe_asleep(const SleepStatus *s, uint64_t now) {
        const char *wake = s->has_address ? "on the first packet" : "when it is used";
        char since[FORMAT_TIMESPAN_MAX], kept[FORMAT_BYTES_MAX];

        if (streq(s->state, "suspended"))
                return describe_suspended(s, now, wake);
        if (streq(s->state, "hibernating"))
                return strprintf("is being written to disk; wakes %s", wake);
        span(since, s->since, now);
        if (s->kept > 0)
                return strprintf("hibernated %s ago (%s kept in memory, too); wakes %s", since, format_bytes(kept, s->kept), wake);
        return strprintf("hibernated %s ago; wakes %s", since, wake);
}

static bool is_asleep(const char *state) {
        return streq(state, "suspended") || streq(state, "hibernating") || streq(state, "hibernated");
}

int sleep_describe(const SleepStatus *s, uint64_t now, const char **ret_label, char **ret_text) {
        const char *label = "Asleep";
        char *text;

        if (is_asleep(s->state))
                text = describe_asleep(s, now);
        else if (!streq(s->state, "running"))
                return 0;
        else if (s->idle_since > 0 && isempty(s->awake_reason) && s->held_until <= now) {
                label = "Idle";
                text = describe_idle(s, now);
        } else {
                label = "Awake";
                text = describe_awake(s, now);
        }
        if (!text)
                return -ENOMEM;
        *ret_label = label;
        *ret_text = text;
        return 1;
}

char *sleep_policy_describe(const SleepStatus *s) {
        char idle[FORMAT_TIMESPAN_MAX], delay[FORMAT_TIMESPAN_MAX];

        if (s->idle_timeout == UINT64_MAX)
                return strdup("never suspended");
        span(idle, 0, s->idle_timeout);
        if (s->hibernate_delay == UINT64_MAX)
                return strprintf("suspended after %s, never hibernated", idle);
        return strprintf("suspended after %s, hibernated %s later", idle, span(delay, 0, s->hibernate_delay));
}
