/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The Manager owns everything in hero-computed: the VMs and their indexes, the jobs, what the VMs share (images,
 * kernel, templates, uids, capacity) and the connections to bus, PID 1 and machined. One per process. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <uthash.h>

#include "compute/capacity.h"
#include "compute/compute-config.h"
#include "compute/idle.h"
#include "compute/job.h"
#include "compute/network.h"
#include "compute/resources.h"
#include "compute/signals.h"
#include "compute/vm.h"
#include "shared/audit-calls.h"
#include "shared/polkit.h"

typedef struct Quarantine {
        char *name, *why;
} Quarantine;

typedef struct ScopeCall ScopeCall;

struct Manager {
        sd_event *event;
        sd_bus *bus;
        Polkit *polkit;
        Audit *audit;
        ComputeConfig config;

        int state_fd;      /* STATEDIR */
        int vms_fd;        /* STATEDIR/vms */
        int templates_fd;  /* STATEDIR/templates */

        Vm *vms_by_name, *vms_by_id, *vms_by_user;
        unsigned n_vms;

        Job *jobs;
        unsigned n_jobs;
        uint32_t next_job_id;

        uint64_t next_sequence;
        EventRing events;
        Signals signals;

        Capacity capacity;
        Resources resources;
        Network network;
        unsigned char *uids_used; /* bitmap of config.uid_count */
        unsigned uids_next;

        TAILQ_HEAD(, ScopeCall) scope_calls; /* what PID 1 was, or is yet to be, asked: scope.c */
        ScopeCall *scope_jobs;               /* of those, by the path of PID 1's job */
        unsigned n_scope_starts, n_scope_questions;
        sd_bus_slot *stops_call; /* for PID 1's jobs */
        bool stops_unseen;       /* it had new ones meanwhile */
        bool stops_waiting;      /* there are stops of ours that PID 1 has not begun with */
        TAILQ_HEAD(, Vm) registrations; /* not yet sent to machined */
        unsigned n_registrations;       /* not yet answered */
        uint64_t machined_retry;

        Quarantine *quarantined;
        size_t n_quarantined, allocated_quarantined;

        Idle idle;
        KeptMemory kept;

        sd_event_source *reconcile_timer;
        bool reconciling;

        bool serving; /* adoption is over */
};

int manager_new(Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(Manager *, manager_free);

int manager_load_config(Manager *m);
int manager_connect(Manager *m);

Vm *manager_find_vm(Manager *m, const char *name);
Vm *manager_find_vm_by_user(Manager *m, const char *user);
/* Name, id or an unambiguous beginning of either. 0, -ENXIO, -ENOTUNIQ (error is set). */
int manager_resolve_vm(Manager *m, const char *name, Vm **ret, sd_bus_error *error);

int manager_quarantine(Manager *m, const char *name, const char *why);

/* The events ring, for vm_set_state(). Emits Manager.Transition. */
void manager_add_event(Manager *m, Event *e);

/* manager-bus.c, vm-bus.c, user-bus.c, job-bus.c */
int manager_bus_register(Manager *m);
void user_emit_added(Vm *vm);
void user_emit_removed(Vm *vm);
int vm_bus_register(Manager *m);
int user_bus_register(Manager *m);
int job_bus_register(Manager *m);

/* uid-pool.c: a uid no other VM uses; -EDQUOT when there is none. Reserve is for adoption. */
int uid_pool_take(Manager *m, uid_t *ret);
void uid_pool_reserve(Manager *m, uid_t uid);
void uid_pool_give_back(Manager *m, uid_t uid);

/* The vtables, for the test that compares them with the access table and the XML. */
const sd_bus_vtable *manager_bus_vtable(void);
const sd_bus_vtable *vm_bus_vtable(void);
const sd_bus_vtable *user_bus_vtable(void);
const sd_bus_vtable *job_bus_vtable(void);
