/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the host can give and what of it is promised. Disk is reserved for as long as a VM exists, CPUs and memory from the call
 * that starts it until its VMM is gone: an operation in flight counts, so parallel ones cannot overshoot. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct ComputeConfig ComputeConfig;
typedef struct Vm Vm;

typedef struct Capacity {
        unsigned cpus_total, cpus_reserved;
        uint64_t memory_total, memory_reserved;
        uint64_t disk_total, disk_reserved;
} Capacity;

/* Asks the host; reservations stay. */
int capacity_refresh(Capacity *c, const struct ComputeConfig *config, int state_fd);

/* 0, or -ENOSPC with NoCapacity in error: which resource, how much is asked for and how much is left. */
int capacity_reserve_disk(Vm *vm, sd_bus_error *error);
int capacity_reserve_run(Vm *vm, sd_bus_error *error);
void capacity_release_disk(Vm *vm);
void capacity_release_run(Vm *vm);
/* What exists already (adoption) is counted even when it is over the limit. */
void capacity_force(Vm *vm, bool run);
/* The disk of a VM grows: 0 or -ENOSPC. */
int capacity_grow_disk(Vm *vm, uint64_t disk, sd_bus_error *error);
/* It did not come to it. */
void capacity_shrink_disk(Vm *vm, uint64_t disk);
