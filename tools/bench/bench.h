/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-bench: the two clients that tools/bench/bench compares, in one process. One is a user of org.hero.Compute; the
 * other, the floor, does by hand the least that must be done for the same: a scope by StartTransientUnit, a VMM of the
 * very same command line. Nothing here is measured that the daemon does not do for everybody.
 *
 * What was measured goes to stdout, one "NAME MICROSECONDS" per line; what went wrong to stderr. */

#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"

#define WIDTH_MAX 64u
#define BENCH_MEMORY (UINT64_C(64) << 20)
#define BENCH_DISK (UINT64_C(16) << 20)

typedef struct Client Client;
typedef struct Item Item;

/* What is done once per item: begin() asks for something, next() is called when the job of that has ended, and answers
 * 1 when the item is finished, 0 when it asked for something more. */
typedef struct Kind {
        const char *name;
        int (*begin)(Item *i);
        int (*next)(Item *i);
} Kind;

struct Item {
        Client *client;
        const Kind *kind;
        unsigned number;
        char name[64];     /* of the VM */
        char job[128];     /* path of the job it waits for; "" */
        unsigned step;
        bool alone;        /* one at a time: its parts are worth a report */
        uint64_t began;
        sd_bus_slot *slot;
};

struct Client {
        sd_event *event;
        sd_bus *bus;
        Item *active[WIDTH_MAX];
        unsigned n_active;
        const char *image; /* of the VMs that vm_create_and_start makes; NULL: the built-in one */
        bool no_network;   /* … and they have none */
        int error;
        pid_t *children; /* in the scopes made by hand */
        size_t n_children, allocated_children;
};

int client_new(Client **ret);
Client *client_free(Client *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Client *, client_free);

/* Asks; the last object path of the answer is the job. Takes m over. */
int item_ask(Item *i, sd_bus_message *m);

/* Does kind for the numbers first … first + count - 1, width at a time. Each one's time goes to stdout unless name is
 * NULL; that of all to ret_usec. */
int client_run(Client *c, const Kind *kind, const char *name, unsigned first, unsigned count, unsigned width,
               uint64_t *ret_usec);

/* One call, and the wait for the job that its answer names. Takes m over. */
int client_ask(Client *c, const char *what, sd_bus_message *m, uint64_t *ret_usec);

/* Waits until systemd has forgotten all scopes of this pattern and has no job left. Not measured. */
int client_settle(Client *c, const char *pattern);

/* CPU time that the processes which take part have used, µs; zeros where the kernel does not count it. */
#define CPU_PROCESSES 7
typedef struct CpuTimes {
        uint64_t usec[CPU_PROCESSES];
} CpuTimes;

void cpu_times(CpuTimes *ret);
/* "NAME-cpu-PROCESS": what was used since, divided by count. */
void cpu_report(const char *name, const CpuTimes *before, unsigned count);

void report(const char *name, uint64_t usec);
int complain(int error, const char *format, ...) _printf_(2, 3);

/* scopes.c: a sleeping process in a scope, and the end of all of them. */
extern const Kind scope_create;
int scopes_clear(Client *c);
int scope_of_process(Client *c, const char *unit, pid_t pid);
int unit_call(Client *c, const char *member, const char *unit);

/* vms.c: mock VMs bench-0, bench-1, … */
extern const Kind vm_create_and_start, vm_delete;
int vm_get_pid(Client *c, const char *name, pid_t *ret);
int vm_get_string(Client *c, const char *name, const char *property, char **ret);
int vm_last_transition(Client *c, const char *name, const char *to, uint64_t *ret_realtime);
int vm_call(Client *c, const char *name, const char *member, uint64_t *ret_usec); /* waits for the job */
int vm_request(Client *c, const char *name, const char *member);                  /* does not */
int user_provision(Client *c, const char *user, const char *hypervisor, uint64_t memory, uint64_t *ret_usec); /* 0: as ever */
int user_deprovision(Client *c, const char *user);
int image_open(Client *c, const char *reference, uint64_t *ret_usec);
int vm_report_phases(Client *c, const char *name);
int vm_exec(Client *c, const char *name); /* "true", and its exit status */
int vm_shell(Client *c, const char *name, const char *script);
int vms_count(Client *c, unsigned *ret);  /* by GetManagedObjects */

/* by-hand.c: the VMM of a running VM, as a pattern for starting the same by hand. */
typedef struct Pattern {
        char **argv;
        int kernel_fd, initrd_fd, root_fd;
        int kernel, initrd, root, overlay, monitor, console, agent, memory, tap; /* fd numbers in argv; -1: none */
        uint64_t memory_size;
        bool mock;
} Pattern;

/* A TAP by hand, down, leading nowhere; "%d" in the name: a number of the kernel's. Complains. */
int bench_tap(const char *name);

int pattern_new(pid_t pid, Pattern *ret);
void pattern_done(Pattern *p);

typedef struct Vmm {
        pid_t pid;
        int monitor, console, agent;
        char line[65536];
        size_t n_line;
        bool mock;
        unsigned id;
} Vmm;

/* Starts it, answers the agent's hello, and returns when the agent says that it is ready. */
int vmm_boot(const Pattern *p, Vmm *ret);
int vmm_greet(Vmm *v);
int vmm_pause(Vmm *v, bool pause);
void vmm_done(Vmm *v);

/* A VMM that is to load a guest (the pattern is of one that did so), and the guest goes on: from a memory image, or from a memory and
 * a state that are in memory (image_fd -1). The TAP may be -1: one that leads nowhere. */
typedef struct Guest {
        int image_fd, memory_fd, state_fd, overlay_fd, tap_fd;
} Guest;

int vmm_restore(const Pattern *p, const Guest *g, Vmm *ret, uint64_t *ret_usec, uint64_t *ret_loaded_usec);

/* by-hand-network.c */
typedef struct HandNetwork {
        int home;         /* the namespace we are in */
        int hand, tap;    /* one with a TAP, for a VMM by hand */
        int outside;      /* one that reaches our VM through home; -1 */
        int hand_outside; /* … and one that reaches the VMM by hand's through hand; -1 */
} HandNetwork;

int hand_network_new(Client *c, const char *vm, bool outside, HandNetwork *ret);
void hand_network_done(HandNetwork *n);
int enter_namespace(int fd);

/* A process in a namespace of its own, which does what the guest does, behind a veth pair whose other end is in the one where we are. */
#define VETH_ADDRESS "fd00:bf::2"
int veth_server_new(uint64_t bytes, pid_t *ret);

/* traffic.c: with a guest, or something else, that has a service or two. */
#define HTTP_PORT 8080
#define SINK_PORT 9001
struct sockaddr_in6;
struct sockaddr_in6 vm_address(Client *c, const char *vm);
int first_byte(const struct sockaddr_in6 *a, const char *name, uint64_t *ret_usec); /* reported unless name is NULL */
int download(const struct sockaddr_in6 *a, const char *name, uint64_t *ret_bytes);
int upload(const struct sockaddr_in6 *a, const char *name, uint64_t bytes);
int echoes(const struct sockaddr_in6 *a, const char *name, unsigned count); /* of ICMPv6 */
int serve(uint64_t bytes); /* what the guest's programs do; does not return */

/* sleep.c */
int verb_sleep(Client *c, char **argv);
/* What it has written to its memory image and its disk, for one by hand. */
int copy_overlay(void);
int open_image(void);
int first_sleep(Client *c, Pattern *ret); /* hibernated, and woken: the pattern of one that loads */

/* network.c */
int verb_network(Client *c, char **argv);

/* rpc-load.c */
int rpc_connect(const char *path);
char *rpc_request(const char *body); /* HTTP and all; NULL: no memory */
/* One request and the whole of its answer, which must be a result. buf is grown. Complains. */
int rpc_ask(int fd, const char *request, char **buf, size_t *allocated, uint64_t *ret_usec);
int verb_rpc_load(Client *c, char **argv);

/* rpc-calls.c */
int verb_rpc_time(Client *c, char **argv);
int verb_rpc_mutation(Client *c, char **argv);
int verb_rpc_objects(Client *c, char **argv);
