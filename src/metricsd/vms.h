/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The VMs there are, as hero-computed tells them on the bus. While it is restarted the VMs run on and so does their sampling; which of
 * them are left is seen when it is back. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <uthash.h>

#include "metricsd/cgroup.h"
#include "shared/object-mirror.h"

#define VMS_MAX 10000u

typedef struct Vm {
        char *path;
        char *id, *name, *user, *image, *unit, *tap, *state; /* "" where it has none */
        uint64_t memory, started; /* bytes; CLOCK_REALTIME µs, 0: never */
        uint32_t cpus, pid;
        bool confirmed;           /* since hero-computed came back */

        /* sample.c's */
        Cgroup cgroup;
        unsigned cgroup_pid;      /* the process it was found for */
        int link;                 /* index; 0: none */
        bool known;               /* was looked at in the last pass, running or not: what begins now begins at nothing */
        Counters counters;        /* of the last pass; unknown: it did not run, or was not read */
        uint64_t sampled;         /* when: CLOCK_BOOTTIME, 0: as above */
        uint64_t sampled_time;    /* the last reading, CLOCK_REALTIME; 0: it did not run */
        Usage usage;              /* since the pass before; span 0: there is none */
        TAILQ_ENTRY(Vm) vms;
        UT_hash_handle hh;
} Vm;

typedef struct Vms {
        ObjectMirror *mirror;
        TAILQ_HEAD(, Vm) list;    /* the pass's order: new ones at the end */
        Vm *by_path;
        unsigned n;
        bool ready;               /* hero-computed has told them */
        void (*removing)(Vm *vm, void *userdata);
        void *userdata;
} Vms;

/* removing: is called before a VM is forgotten. */
int vms_start(Vms *v, sd_bus *bus, void (*removing)(Vm *vm, void *userdata), void *userdata);
void vms_done(Vms *v);

/* By id or name; NULL. */
Vm *vms_find(const Vms *v, const char *text);

/* All states, in the order of life; NULL ends them. */
extern const char *const vm_states[];
