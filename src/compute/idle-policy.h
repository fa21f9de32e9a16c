/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* When a VM is idle, and when that sends it to sleep. Pure: values in, values out; idle.c reads what is to be read.
 *
 * Every VM has a clock. Each check gives it a sample; what is said for activity sets it back. Once it stands at the VM's idle
 * timeout, the VM is due. Whatever cannot be read counts as activity. All times are µs of CLOCK_BOOTTIME, which nobody sets. */

#include "basic/macro.h"

/* What is looked at: Signals= in compute.conf. */
typedef enum IdleSignal {
        IDLE_NETWORK = 1u << 0,  /* bytes on the TAP */
        IDLE_CPU = 1u << 1,      /* of the scope */
        IDLE_SESSIONS = 1u << 2, /* exec, console, whatever else goes through the agent */
        IDLE_FLOWS = 1u << 3,    /* connections */
        IDLE_ALL_SIGNALS = IDLE_NETWORK | IDLE_CPU | IDLE_SESSIONS | IDLE_FLOWS,
} IdleSignal;

/* "network cpu", at least one. -EINVAL. */
int idle_signals_parse(const char *s, unsigned *ret);

typedef struct IdleSettings {
        unsigned signals;
        uint64_t interval;      /* between two checks */
        uint64_t network_noise; /* bytes in an interval that are no activity */
        double cpu_threshold;   /* percent of one CPU that are none */
} IdleSettings;

/* Why it does not sleep. */
typedef enum IdleReason {
        IDLE_NOTHING,
        IDLE_CANNOT_SUSPEND,
        IDLE_NEVER,
        IDLE_HELD,
        IDLE_WOKEN,   /* started, resumed, or seen for the first time */
        IDLE_TOUCHED,
        IDLE_IN_SESSION,
        IDLE_USED,
        IDLE_ON_NETWORK,
        IDLE_COMPUTES,
        IDLE_CONNECTED,
        IDLE_NETWORK_UNKNOWN,
        IDLE_CPU_UNKNOWN,
        IDLE_FLOWS_UNKNOWN,
        _IDLE_REASON_MAX,
} IdleReason;

/* The sentence, "" for nothing. That of IDLE_CANNOT_SUSPEND is the hypervisor's. */
const char *idle_reason_sentence(IdleReason r);

#define IDLE_UNKNOWN UINT64_MAX

typedef struct IdleSample {
        uint64_t time;
        uint64_t bytes;         /* on the TAP so far, both ways; IDLE_UNKNOWN: cannot be read */
        uint64_t cpu;           /* µs used so far; likewise */
        uint64_t used;          /* when exec, console or agent last did something */
        unsigned sessions;      /* that are open */
        bool no_network;        /* there is no TAP */
} IdleSample;

typedef struct IdleClock {
        uint64_t active;        /* the last that is known of activity */
        uint64_t held;          /* until then; 0: not */
        IdleSample baseline;    /* what the next sample is compared with */
        bool sampled;           /* there is one */
        IdleReason reason;
} IdleClock;

/* Sets it back: from now on the VM is looked at anew. Who holds it goes on holding it. */
void idle_clock_start(IdleClock *c, uint64_t now, IdleReason reason);

/* A sign of life that is not in the samples. */
void idle_clock_touch(IdleClock *c, uint64_t now, IdleReason reason);

/* At most IDLE_HOLD_MAX; 0 ends it. */
#define IDLE_HOLD_MAX (UINT64_C(24) * 60 * 60 * 1000000)
void idle_clock_hold(IdleClock *c, uint64_t now, uint64_t usec);

/* A sample of a VM that runs; true: nothing in it says that the VM is used. Samples may come at any time: they are compared
 * with one that is an interval old, if not older, so that looking twice does not divide what is looked for. */
bool idle_clock_check(IdleClock *c, const IdleSettings *s, const IdleSample *sample);

/* Whether flows have to be looked at, after idle_clock_check() said that there is nothing else: they are when nothing but a flow
 * keeps the VM awake, for that is not cheap. Afterwards flows is the answer: 0, 1 or -errno. */
bool idle_clock_needs_flows(const IdleClock *c, const IdleSettings *s, uint64_t now, uint64_t timeout);
void idle_clock_flows(IdleClock *c, uint64_t now, int flows);

/* When it is to go to sleep at the earliest (UINT64_MAX: never), and whether that is now. */
uint64_t idle_clock_end(const IdleClock *c, uint64_t timeout) _pure_;
bool idle_clock_is_due(const IdleClock *c, uint64_t now, uint64_t timeout) _pure_;

/* a + b, no more than UINT64_MAX, which is never. */
uint64_t idle_time_add(uint64_t a, uint64_t b) _pure_;

/* What is left of a hold whose end was written down in CLOCK_REALTIME: if that clock was set back meanwhile, no more than there
 * could have been. */
uint64_t idle_hold_left(uint64_t until_realtime, uint64_t now_realtime) _pure_;
