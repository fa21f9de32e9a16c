/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The memory of guests whose image is on disk, kept until the host wants it back, as the page cache is: who comes back soon does
 * not wait for the disk. Nothing depends on it. It is not in systemd's fd store, a daemon that ends gives it back, and the image
 * stays until the guest goes on. Owned by the Manager; what was kept first goes first.
 *
 * All of it together is at most KeepMemoryMax= of the host's memory, and nothing is kept where the VMs' slice has a limit: the kernel
 * counts it there and, without swap, would end VMs for it. It is given back when the kernel says that others wait for memory
 * (/proc/pressure/memory; where it cannot say that, nothing is kept), and before a VM starts for which less is available than it may use. */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Manager Manager;
typedef struct Vm Vm;

/* A VM's. */
typedef struct VmKept {
        uint64_t size; /* bytes, 0: nothing is kept, and the fds are none */
        int memory_fd, state_fd;
        TAILQ_ENTRY(Vm) vms;
} VmKept;

typedef struct KeptMemory {
        TAILQ_HEAD(, Vm) vms;
        uint64_t size, max;
        sd_event_source *pressure;
} KeptMemory;

void kept_memory_init(Manager *m);
void kept_memory_done(Manager *m); /* no VM has any by now */
void kept_memory_config_changed(Manager *m);

/* Takes over memory and state of a guest that is on disk, where it may. */
void kept_memory_add(Vm *vm);
/* Gives them back to its VmRuntime; false: there are none. */
bool kept_memory_take(Vm *vm);
/* After all they are not needed now. */
void kept_memory_put_back(Vm *vm);
void kept_memory_drop(Vm *vm);

/* A guest is about to use so many bytes. */
void kept_memory_make_room(Manager *m, uint64_t size);
