/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sends VMs to sleep: one timer for all of them looks every CheckIntervalSec= at those that run, suspends the idle ones and
 * hibernates those that have been suspended for long enough. It runs only while there is a VM that could come to that. */

#include <systemd/sd-event.h>

#include "compute/idle-policy.h"
#include "network/netlink.h"

typedef struct Manager Manager;
typedef struct Vm Vm;

typedef struct Idle {
        sd_event_source *timer;
        Netlink *links, *connections; /* opened when first needed */
        int64_t realtime_offset;      /* of CLOCK_REALTIME to CLOCK_BOOTTIME, see idle_to_realtime() */
        uint64_t connections_after;   /* CLOCK_BOOTTIME, when they may be read again */
        bool left_over;               /* VMs are due for which there were too many others */
} Idle;

/* What a VM has of it. */
typedef struct VmIdle {
        IdleClock clock;
        uint64_t used;    /* CLOCK_BOOTTIME of vm_touch() */
        uint32_t job;     /* the last one that was made because it was idle; 0: none */
        uint64_t asleep;  /* what its hibernation is counted from; likewise */
        IdleReason shown; /* AwakeReason, as it was last announced */
        uint64_t told;    /* and LastActivityTimestamp */
} VmIdle;

void idle_done(Manager *m);

/* All VMs have been adopted. */
void idle_begin(Manager *m);

/* These have to be called whenever something of the kind has changed. */
void idle_vm_state_changed(Vm *vm);
void idle_vm_policy_changed(Vm *vm);
void idle_config_changed(Manager *m, uint64_t old_timeout, uint64_t old_delay);

/* Somebody uses it through us (vm_touch() calls this), or is about to: there is a packet for it, say. A suspend for being idle
 * that is under way is taken back; one that somebody asked for is not. Cheap. */
void idle_used(Vm *vm);
/* The same, and it is no signal that could have been left out. */
void idle_touch(Vm *vm);
void idle_hold(Vm *vm, uint64_t usec); /* 0 ends it */

/* LastActivityTimestamp, as it is now, was sent around. */
void idle_activity_told(Vm *vm);

/* What holds: the VM's own, or what the configuration says. UINT64_MAX: never. */
uint64_t idle_timeout(const Vm *vm);
uint64_t idle_hibernate_delay(const Vm *vm);

/* Why it does not sleep; "" when nothing keeps it from that. Returns buf. */
#define IDLE_SENTENCE_MAX 128
const char *idle_awake_reason(const Vm *vm, char buf[static IDLE_SENTENCE_MAX]);

/* In CLOCK_REALTIME: since when it is idle (0: it is not), when it will be suspended, or hibernated (UINT64_MAX: never), and the
 * end of a hold (0: none). */
uint64_t idle_since(const Vm *vm);
uint64_t idle_sleep_time(const Vm *vm);
uint64_t idle_held_until(const Vm *vm);
