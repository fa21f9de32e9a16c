/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A VM. Owned by the Manager, which finds it by name, id, user and scope. What it is (spec, state, history) lives
 * as long as the VM; what it needs while there is a VMM (runtime) only so long. */

#include <netinet/in.h>
#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <uthash.h>

#include "compute/event-log.h"
#include "compute/idle.h"
#include "compute/kept-memory.h"
#include "compute/image-config.h"
#include "compute/lifecycle.h"
#include "compute/vm-network.h"
#include "compute/vm-spec.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/vmm-process.h"

typedef struct Agent Agent;
typedef struct Console Console;
typedef struct Job Job;
typedef struct Manager Manager;
typedef struct Vm Vm;
typedef struct VmCall VmCall;
typedef struct VmRuntime VmRuntime;
typedef struct VmWaiter VmWaiter;

#define VM_ID_LENGTH 12

/* µs of CLOCK_MONOTONIC; see StartPhases in org.hero.Compute.VM.xml. */
typedef struct VmPhases {
        uint64_t requested, scope, executed, monitor, hello, ready;
} VmPhases;

/* How the VMM came to its end, collected from whoever knows, most specific last. */
typedef enum VmEnd {
        VM_END_UNKNOWN,
        VM_END_EXITED,         /* exit code in end_status */
        VM_END_KILLED,         /* signal in end_status */
        VM_END_GUEST_SHUTDOWN, /* the guest went down, by itself or because it was told to */
        VM_END_HOST_STOP,      /* systemctl stop asked us, or the VMM got SIGTERM */
        VM_END_COMMAND,        /* its command ended; exit_code, exit_reason */
        VM_END_OOM,            /* at its memory limit, as far as can be told */
        VM_END_HOST_OOM,       /* below it: for others' sake */
} VmEnd;

struct VmRuntime {
        uid_t uid;
        Accelerator accelerator;
        unsigned cpus;          /* that the guest was started with: the spec may have changed since */
        uint64_t memory;
        VmmProcess process;
        sd_event_source *exit_source, *control_source, *timer, *oom_source;
        sd_bus_slot *call;      /* the one call to PID 1 in flight for this VM */
        int monitor_fd, agent_fd, console_fd; /* until monitor, agent and console take them over */
        int agent_peer, console_peer; /* the VMM's ends: the next VMM of a guest that slept gets the same, and no byte is lost */
        int root_fd;            /* the image: a guest that wakes does not wait for it */
        int memory_fd;          /* the guest's, -EBADF: none that outlives the VMM, or it is on disk */
        int state_fd;           /* what the VMM said of its devices, for as long as it is valid: until the guest goes on */
        int image_fd;           /* hibernation.img, likewise; while the guest is restored from it */
        char *vmm_version;      /* what can read the two; NULL: not known */
        struct Child *hibernator; /* writes hibernation.img */
        int sleep_error;
        char *sleep_text;
        VmmMonitor *monitor;
        Agent *agent;
        Console *console;
        char *launch_why;       /* what the launcher said */

        sd_event_source *agent_timer; /* calls wait for the agent of a guest that woke: vm-awake.c */

        bool monitor_ready:1, agent_ready:1, agent_lost:1;
        bool agent_silent:1;    /* it was waited for in vain */
        bool scope_requested:1, scope_up:1, scope_gone:1;
        bool registering:1, registered:1, unregistering:1; /* see registration.c */
        bool saved:1;           /* the VMM has given the guest away and ends */
        bool restoring:1;       /* a VMM is started for a guest that sleeps */
        bool kept:1;            /* … on disk, but its memory and state_fd were kept */
        bool to_suspended:1;    /* … which is not to run, as its hibernation failed: sleep_error, sleep_text */
        bool executed:1, exited:1, stop_unit_sent:1, killed_by_us:1;
        unsigned stop_stage;
        unsigned tap_tries;    /* see vm-start.c */
        sd_bus_slot *unregister_call;
        int cpu_stat_fd;       /* of the scope's cgroup, once idle.c has read it */
        unsigned late_saves;   /* answers to a save that nobody waits for any more: vm-hibernate.c */
        unsigned late_answers; /* of the monitor, which nobody waits for any more: vm-suspend.c */

        VmEnd end;
        int end_status;
};

struct Vm {
        Manager *manager;
        char *name, *unit, *path;
        char id[VM_ID_LENGTH + 1];
        UT_hash_handle hh_name, hh_id, hh_user;

        VmSpec spec;            /* name and user in here, too */
        const Hypervisor *hypervisor;
        char *image_digest;     /* NULL: its creation was never completed */
        VmImageConfig image_config;

        VmState state, before;  /* before: where an undone start goes back to */
        char *reason;
        EventRing events;
        uint64_t created, started, stopped, last_activity; /* CLOCK_REALTIME */
        uint64_t state_since;                              /* CLOCK_BOOTTIME */
        uint64_t durations[_VM_STATE_MAX];
        VmPhases phases;
        int exit_code;          /* of its command; -1: none */
        char *exit_reason;      /* see vm-exit.h; NULL: has not ended */

        VmNetwork network;
        int tap_ifindex;        /* 0: no TAP */
        VmIdle idle;
        VmKept kept;

        Job *job;
        VmRuntime *runtime;
        void *waiting_queue;    /* the VmQueue of resources.c it is in, if any */
        TAILQ_ENTRY(Vm) waiting;
        LIST_HEAD(, VmWaiter) waiters;
        TAILQ_HEAD(, VmCall) calls; /* that wait for it to wake: vm-awake.c */
        unsigned n_calls;
        uint64_t wake_pause, wake_after; /* packets do not wake it until then (CLOCK_MONOTONIC): the last wake failed */

        sd_event_source *transient_timer; /* until it is deleted: transient.c */
        TAILQ_ENTRY(Vm) registrations;
        TAILQ_ENTRY(Vm) signals;
        unsigned changed;       /* properties, see signals.c */
        bool signalled:1, announce:1;

        bool pulling:1;        /* its creation waits for a pull, and goes on after a restart of the daemon */
        bool pull_provisions:1;/* … and then with a start, for its job is a provision */
        bool disk_reserved:1, memory_reserved:1, removed:1;
        bool awaited:1, lingered:1; /* somebody waited for the end; and has had time to ask how it came */
        bool wake_wanted:1; /* see vm-awake.c */
        bool unsaved:1; /* the record is behind, see vm_set_state_ahead() */
        bool loaded:1; /* there is a record whose unknown fields are to be kept */
        unsigned reserved_cpus;
        uint64_t reserved_memory, reserved_disk;

        /* A failure whose clean-up is under way: what to report when it is over. */
        int failure;
        char *failure_text;
};

/* Makes a VM and enters it into the Manager's tables; the spec is taken over. Errors: -EEXIST, -EADDRINUSE, -ENOMEM. */
int vm_new(Manager *m, const char *name, const char *id, VmSpec *spec, Vm **ret);
Vm *vm_free(Vm *vm);
/* The daemon ends: frees the object, while VMM, scope and what is in the fd store stay as they are. */
void vm_forget(Vm *vm);

VmRuntime *vm_runtime_new(Vm *vm);
/* The VMM is gone, and the guest is not: what belongs to the one goes, what belongs to the other stays. */
void vm_runtime_end_process(Vm *vm);
void vm_runtime_free(Vm *vm); /* closes monitor, agent, console; gives the uid back */

/* Moves the VM along the table: ring, record, signal, journal, waiters. A forbidden transition is a bug: asserted. */
void vm_set_state(Vm *vm, VmState to, const char *format, ...) _printf_(3, 4);
/* As above for a state in which nothing is done yet that would have to be undone: the record is written with that of the
 * next state or by vm_record_settle(), which whoever has to wait calls first; at the latest after the signals about it. */
void vm_set_state_ahead(Vm *vm, VmState to, const char *format, ...) _printf_(3, 4);

/* The same state, for another reason (adoption). */
void vm_changed(Vm *vm, const char *property, ...) __attribute__((__sentinel__));

/* Time spent in a state up to now. */
uint64_t vm_state_duration(const Vm *vm, VmState s);

/* Its guest sleeps: in its VMM, or without one. */
bool vm_is_asleep(const Vm *vm);
bool vm_agent_is_ready(const Vm *vm);
void vm_touch(Vm *vm);

/* "Failed" with fields HERO_VM and HERO_USER. */
#define log_vm_full(vm, level, error, id, ...) \
        log_full((level), (error), __FILE__, __LINE__, __func__, (vm)->name, (vm)->spec.user, (id), __VA_ARGS__)
#define log_vm_debug(vm, ...) ((void) log_vm_full((vm), LOG_DEBUG, 0, NULL, __VA_ARGS__))
#define log_vm_info(vm, ...) ((void) log_vm_full((vm), LOG_INFO, 0, NULL, __VA_ARGS__))
#define log_vm_warning(vm, ...) ((void) log_vm_full((vm), LOG_WARNING, 0, NULL, __VA_ARGS__))
#define log_vm_warning_errno(vm, e, ...) log_vm_full((vm), LOG_WARNING, (e), NULL, __VA_ARGS__)
#define log_vm_error_errno(vm, e, ...) log_vm_full((vm), LOG_ERR, (e), NULL, __VA_ARGS__)
