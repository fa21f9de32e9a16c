/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/capacity.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "basic/time-util.h"
#include "compute/manager.h"
#include "shared/error-names.h"

int capacity_refresh(Capacity *c, const ComputeConfig *config, int state_fd) {
        struct statvfs fs;
        struct sysinfo si;
        double cpus;

        if (sysinfo(&si) < 0 || fstatvfs(state_fd, &fs) < 0)
                return negative_errno();
        cpus = (double) sysconf(_SC_NPROCESSORS_ONLN) * config->cpu_overcommit;
        c->cpus_total = cpus < 1 ? 1 : (unsigned) cpus;
        c->memory_total = (uint64_t) ((double) si.totalram * si.mem_unit * config->memory_overcommit);
        c->disk_total = (uint64_t) ((double) fs.f_blocks * (double) fs.f_frsize * config->disk_overcommit);
        return 0;
}

static int refuse_bytes(sd_bus_error *error, const char *what, uint64_t wanted, uint64_t total, uint64_t reserved) {
        char w[FORMAT_BYTES_MAX], l[FORMAT_BYTES_MAX], t[FORMAT_BYTES_MAX];

        return sd_bus_error_setf(error, ERROR_NO_CAPACITY,
                                 "Not enough %s: %s is asked for, %s of %s is left. Stop or delete a VM, ask for less, or "
                                 "raise %sOvercommit= in compute.conf.",
                                 what, format_bytes(w, wanted), format_bytes(l, total > reserved ? total - reserved : 0),
                                 format_bytes(t, total), what[0] == 'm' ? "Memory" : "Disk");
}

static bool fits(uint64_t wanted, uint64_t total, uint64_t reserved) {
        return reserved <= total && wanted <= total - reserved;
}

int capacity_reserve_disk(Vm *vm, sd_bus_error *error) {
        Capacity *c = &vm->manager->capacity;

        if (vm->disk_reserved)
                return 0;
        if (!fits(vm->spec.disk, c->disk_total, c->disk_reserved))
                return refuse_bytes(error, "disk", vm->spec.disk, c->disk_total, c->disk_reserved);
        capacity_force(vm, false);
        return 0;
}

int capacity_reserve_run(Vm *vm, sd_bus_error *error) {
        Capacity *c = &vm->manager->capacity;

        if (vm->memory_reserved)
                return 0;
        if (!fits(vm->spec.cpus, c->cpus_total, c->cpus_reserved))
                return sd_bus_error_setf(error, ERROR_NO_CAPACITY,
                                         "Not enough CPUs: %u asked for, %u of %u left. Stop a VM, ask for less, or raise "
                                         "CPUOvercommit= in compute.conf.",
                                         vm->spec.cpus,
                                         c->cpus_total > c->cpus_reserved ? c->cpus_total - c->cpus_reserved : 0,
                                         c->cpus_total);
        if (!fits(vm->spec.memory, c->memory_total, c->memory_reserved))
                return refuse_bytes(error, "memory", vm->spec.memory, c->memory_total, c->memory_reserved);
        capacity_force(vm, true);
        if (!vm->runtime || !vm->runtime->kept) /* whose memory is here already */
                kept_memory_make_room(vm->manager, vm->spec.memory);
        return 0;
}

void capacity_force(Vm *vm, bool run) {
        Capacity *c = &vm->manager->capacity;

        if (run && !vm->memory_reserved) {
                vm->memory_reserved = true;
                c->cpus_reserved += vm->reserved_cpus = vm->spec.cpus;
                c->memory_reserved += vm->reserved_memory = vm->spec.memory;
        } else if (!run && !vm->disk_reserved) {
                vm->disk_reserved = true;
                c->disk_reserved += vm->reserved_disk = vm->spec.disk;
        }
}

void capacity_release_disk(Vm *vm) {
        if (!vm->disk_reserved)
                return;
        vm->disk_reserved = false;
        vm->manager->capacity.disk_reserved -= vm->reserved_disk;
}

void capacity_release_run(Vm *vm) {
        if (!vm->memory_reserved)
                return;
        vm->memory_reserved = false;
        vm->manager->capacity.cpus_reserved -= vm->reserved_cpus;
        vm->manager->capacity.memory_reserved -= vm->reserved_memory;
}

int capacity_grow_disk(Vm *vm, uint64_t disk, sd_bus_error *error) {
        Capacity *c = &vm->manager->capacity;

        if (disk <= vm->reserved_disk)
                return 0;
        if (!fits(disk - vm->reserved_disk, c->disk_total, c->disk_reserved))
                return refuse_bytes(error, "disk", disk - vm->reserved_disk, c->disk_total, c->disk_reserved);
        c->disk_reserved += disk - vm->reserved_disk;
        vm->reserved_disk = disk;
        return 0;
}

void capacity_shrink_disk(Vm *vm, uint64_t disk) {
        if (!vm->disk_reserved || disk >= vm->reserved_disk)
                return;
        vm->manager->capacity.disk_reserved -= vm->reserved_disk - disk;
        vm->reserved_disk = disk;
}
