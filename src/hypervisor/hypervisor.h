/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The hypervisor drivers behind one table of functions.
 *
 * A driver turns a VmmSpec into a command line (pure, golden-tested) and speaks to the running VMM over its
 * monitor socket. It knows neither the Manager nor the bus: values in, values out, results through a callback.
 * A NULL member means "this VMM cannot", and hypervisor_unsupported() is the one place that says so. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef enum Accelerator {
        ACCELERATOR_AUTO, /* KVM where it can really run a guest, else TCG; resolved before a VmmSpec is made */
        ACCELERATOR_KVM,
        ACCELERATOR_TCG,
        _ACCELERATOR_MAX,
        _ACCELERATOR_INVALID = -EINVAL,
} Accelerator;

const char *accelerator_to_string(Accelerator a);
Accelerator accelerator_from_string(const char *s);

/* What a VM is, for a driver. All fds are the caller's and stay open; -EBADF where there is none. The VMM gets
 * duplicates with numbers the driver chooses and writes into the command line. */
typedef struct VmmSpec {
        const char *name;         /* VM name, for process titles */
        const char *id;           /* 12 hex digits */
        unsigned cpus;
        uint64_t memory;          /* bytes */
        Accelerator accelerator;  /* never AUTO */
        const char *kernel_args;  /* appended to the driver's own, may be NULL */
        const char *mock_script;  /* what the mock VMM is to do, see mock/mock-script.h; NULL for others */

        int kernel_fd, initrd_fd; /* read-only; not wanted by one that is incoming */
        int root_fd;              /* root file system image, read-only, raw */
        int overlay_fd;           /* per-VM disk, read-write, raw */
        int console_fd;           /* the VMM's end of a socketpair: console bytes */
        int monitor_fd;           /* … : monitor protocol */
        int agent_fd;             /* … : guest-protocol/guest-protocol.h */

        /* The guest's memory: a memfd of just so many bytes, which the VMM maps shared, so that the guest outlives it.
         * -EBADF: memory of the VMM's own, and save() cannot be used. */
        int memory_fd;
        bool incoming;            /* no boot: waits, paused, for load(); all else as it was when the guest was saved */

        /* The network. Without a TAP the guest has none, and the rest means nothing. */
        int tap_fd;               /* attached already (TUNSETIFF); with IFF_VNET_HDR the guest may leave checksums and
                                   * segmentation to the host */
        uint8_t mac[6];           /* the guest's, unicast */
        unsigned mtu;             /* offered to the guest; 0: the device's default */
} VmmSpec;

/* What to run. fds[i] (borrowed from the spec) becomes fd 3 + i of the VMM. */
#define VMM_FDS_MAX 16
typedef struct VmmCommand {
        char **argv;              /* argv[0] is the absolute path of the program */
        int fds[VMM_FDS_MAX];
        size_t n_fds;

        /* A guest that slept on disk: the VM's process, once released, fills the memory (a memfd as new) from the image
         * (memory-image.h) before it executes the program, which gets neither unless it is among its fds. Only both or none. */
        bool load;
        int load_image_fd, load_memory_fd;
} VmmCommand;

void vmm_command_done(VmmCommand *c);

/* Hands fd to the VMM; the number it has there, or -EBADF, -E2BIG. For the drivers. */
int vmm_command_add_fd(VmmCommand *c, int fd);

/* One line per path the VMM may see in its otherwise empty root: "/usr/lib", "/dev/kvm"; read-only unless a
 * device. Missing ones are left out. */
typedef struct VmmSandbox {
        const char *const *paths;
        const char *const *devices;      /* also DeviceAllow= of the scope, "rw" */
        bool proc;                       /* needs /proc/self */
} VmmSandbox;

typedef enum VmmEvent {
        VMM_EVENT_READY,        /* the monitor answers; the guest has been started */
        VMM_EVENT_PAUSED,
        VMM_EVENT_RESUMED,
        VMM_EVENT_GUEST_SHUTDOWN, /* the guest powered off */
        VMM_EVENT_HOST_SHUTDOWN,  /* the VMM was told to end: a signal, quit */
        VMM_EVENT_GUEST_RESET,
        VMM_EVENT_GUEST_PANIC,
        VMM_EVENT_LOST,         /* the monitor connection broke or spoke nonsense; no event follows */
} VmmEvent;

const char *vmm_event_to_string(VmmEvent e);

typedef struct VmmMonitor VmmMonitor; /* each driver's own struct begins with this one */
typedef void (*vmm_event_t)(VmmMonitor *m, VmmEvent event, void *userdata);
/* error: 0 (or a positive answer) or -errno; text: what the VMM said, may be NULL. Called exactly once unless the
 * monitor is freed. NULL: nobody wants to know. */
typedef void (*vmm_done_t)(VmmMonitor *m, int error, const char *text, void *userdata);

typedef struct Hypervisor Hypervisor;

struct VmmMonitor {
        const Hypervisor *hypervisor;
        vmm_event_t event;
        void *userdata;
};

struct Hypervisor {
        const char *name;
        bool needs_kernel;      /* kernel_fd and initrd_fd must be given, but when incoming */

        /* Static; depends on the accelerator only: a VM that does not use /dev/kvm does not see it. */
        const VmmSandbox *(*sandbox)(const VmmSpec *spec);

        /* 0 or -errno with a sentence in *ret_why (allocated): the VMM is missing, … */
        int (*available)(char **ret_why);

        /* Bytes the VMM itself needs beyond the guest's memory: its share of MemoryMax. */
        uint64_t (*memory_overhead)(const VmmSpec *spec);

        int (*command)(const VmmSpec *spec, VmmCommand *ret);

        /* Speaks to the VMM on fd (taken over on success). adopted: the connection is older than this process,
         * so there is no greeting and the stream may begin in the middle of a message. */
        int (*monitor_new)(sd_event *event, int fd, bool adopted, vmm_event_t callback, void *userdata,
                           VmmMonitor **ret);
        /* Closes the connection, the VMM goes on; pending calls are dropped without an answer. May be called from
         * within any callback. */
        VmmMonitor *(*monitor_free)(VmmMonitor *m);

        /* Each returns 0 or -errno at once and answers later, without a time limit of its own: a VMM that does not
         * answer is for the caller's timer. -ENOTCONN: lost already; -EAGAIN: too many calls without an answer. */

        int (*pause)(VmmMonitor *m, vmm_done_t done, void *userdata);
        int (*resume)(VmmMonitor *m, vmm_done_t done, void *userdata);
        int (*powerdown)(VmmMonitor *m, vmm_done_t done, void *userdata); /* as if the power button was pressed */
        int (*quit)(VmmMonitor *m, vmm_done_t done, void *userdata);
        /* Writes what is the VMM's of a paused guest (devices, not the memory in memory_fd) into fd, from its offset on; and the
         * reverse into one that is incoming, which is paused then as the other was. fd is a file or a pipe, of which the VMM gets
         * a duplicate: it may be closed at once, and its offset moves. -EBUSY: one is under way. Done when all of it is there;
         * the VMM is of no use afterwards but for quit(), and for resume() when save() failed. One that cannot load ends. */
        int (*save)(VmmMonitor *m, int fd, vmm_done_t done, void *userdata);
        int (*load)(VmmMonitor *m, int fd, vmm_done_t done, void *userdata);
        /* What wrote the state, and is needed to read it again: "QEMU 7.2.19 (Debian 1:7.2+dfsg-7)". After
         * VMM_EVENT_READY, of a connection that is not adopted; NULL: not known. */
        const char *(*version)(const VmmMonitor *m);
        /* 1 paused, 0 running in done's error argument; used at adoption. */
        int (*query_paused)(VmmMonitor *m, vmm_done_t done, void *userdata);
};

extern const Hypervisor hypervisor_qemu;
extern const Hypervisor hypervisor_mock;

/* "qemu", "mock"; NULL when there is no such driver. hypervisor_names(): "qemu, mock" for messages. */
const Hypervisor *hypervisor_find(const char *name);
const char *hypervisor_names(void);

/* -EOPNOTSUPP; *ret_text (allocated) becomes "The mock hypervisor cannot …". */
int hypervisor_unsupported(const Hypervisor *h, const char *what, char **ret_text);
