/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/kept-memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/close-later.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/manager.h"
#include "shared/log.h"

/* So much of the host's memory stays available, as the kernel reckons it. */
#define AVAILABLE_SHARE 16u
/* 200 ms in 2 s in which somebody waited for memory; shorter windows are for CAP_SYS_RESOURCE (Documentation/accounting/psi.rst). */
#define PRESSURE_FILE "/proc/pressure/memory"
#define PRESSURE_TRIGGER "some 200000 2000000"
/* At least so much is given back at a time, and half. */
#define STEP (UINT64_C(256) << 20)

void kept_memory_init(Manager *m) {
        TAILQ_INIT(&m->kept.vms);
}

void kept_memory_done(Manager *m) {
        assert(TAILQ_EMPTY(&m->kept.vms) && m->kept.size == 0);
}

static void forget(Vm *vm) {
        KeptMemory *k = &vm->manager->kept;

        TAILQ_REMOVE(&k->vms, vm, kept.vms);
        k->size -= vm->kept.size;
        vm->kept.size = 0;
        if (k->size == 0)
                k->pressure = sd_event_source_disable_unref(k->pressure);
}

void kept_memory_drop(Vm *vm) {
        if (vm->kept.size == 0)
                return;
        forget(vm);
        vm->kept.memory_fd = close_memory_later(vm->kept.memory_fd);
        vm->kept.state_fd = safe_close(vm->kept.state_fd);
}

bool kept_memory_take(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (vm->kept.size == 0)
                return false;
        forget(vm);
        rt->memory_fd = TAKE_FD(vm->kept.memory_fd);
        rt->state_fd = TAKE_FD(vm->kept.state_fd);
        return true;
}

static void give_back(Manager *m, uint64_t size, const char *why) {
        uint64_t before = m->kept.size;
        Vm *vm;

        while (before - m->kept.size < size && (vm = TAILQ_FIRST(&m->kept.vms))) {
                log_vm_debug(vm, "The memory of VM '%s' is not kept any longer: %s", vm->name, why);
                kept_memory_drop(vm);
        }
}

static int on_pressure(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Manager *m = userdata;

        if (revents & EPOLLERR) /* the kernel has taken the trigger away */
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        give_back(m, MAX2(m->kept.size / 2, STEP), "others wait for memory.");
        return 0;
}

/* False on a kernel without it (CONFIG_PSI, psi=0). */
static bool watch_pressure(Manager *m) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (m->kept.pressure)
                return true;
        fd = open(PRESSURE_FILE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || write(fd, PRESSURE_TRIGGER, sizeof(PRESSURE_TRIGGER)) < 0) {
                log_debug_errno(errno, "No memory is kept, cannot watch " PRESSURE_FILE ": %m");
                return false;
        }
        r = sd_event_add_io(m->event, &m->kept.pressure, fd, EPOLLPRI, on_pressure, m);
        if (r >= 0)
                r = sd_event_source_set_io_fd_own(m->kept.pressure, true);
        if (r < 0) {
                m->kept.pressure = sd_event_source_disable_unref(m->kept.pressure);
                log_debug_errno(r, "No memory is kept, cannot watch " PRESSURE_FILE ": %m");
                return false;
        }
        TAKE_FD(fd);
        (void) sd_event_source_set_description(m->kept.pressure, "kept-memory");
        return true;
}

/* What could be had without anybody being swapped out or ended; 0: not known. */
static uint64_t available(void) {
        static const char key[] = "\nMemAvailable:";
        _cleanup_free_ char *text = NULL;
        const char *p;

        if (read_full_file(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL) < 0)
                return 0;
        p = strstr(text, key);
        return p ? strtoull(p + strlen(key), NULL, 10) * 1024 : 0;
}

static uint64_t to_stay_available(void) {
        struct sysinfo si;

        return sysinfo(&si) < 0 ? 0 : (uint64_t) si.totalram * si.mem_unit / AVAILABLE_SHARE;
}

static bool is_unlimited(const char *directory, const char *file) {
        _cleanup_free_ char *path = strprintf("%s/%s", directory, file), *text = NULL;
        int r;

        r = path ? read_full_file(AT_FDCWD, path, 64, &text, NULL) : -ENOMEM;
        return r == -ENOENT || (r >= 0 && startswith(text, "max")); /* no such file: no memory controller */
}

/* "a-b.slice" is below "a.slice" (systemd.slice(5)). */
static bool slice_is_unlimited(const char *slice) {
        _cleanup_free_ char *directory = strdup("/sys/fs/cgroup");

        for (const char *p = slice; directory && *p; p++) {
                _cleanup_free_ char *parent = NULL;

                if (*p != '-' && !streq(p, ".slice"))
                        continue;
                parent = TAKE_PTR(directory);
                directory = strprintf("%s/%.*s.slice", parent, (int) (p - slice), slice);
                if (!directory || !is_unlimited(directory, "memory.max") || !is_unlimited(directory, "memory.high"))
                        return false;
        }
        return directory;
}

void kept_memory_add(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        Manager *m = vm->manager;
        struct stat st;
        uint64_t size;

        if (m->kept.max == 0 || rt->memory_fd < 0 || rt->state_fd < 0 || fstat(rt->memory_fd, &st) < 0)
                return;
        size = (uint64_t) st.st_blocks * 512;
        if (size == 0 || size > m->kept.max || available() < to_stay_available() || !slice_is_unlimited(m->config.slice) ||
            !watch_pressure(m))
                return;
        if (m->kept.size + size > m->kept.max)
                give_back(m, m->kept.size + size - m->kept.max, "that of others is, who fell asleep later.");
        vm->kept.size = size;
        vm->kept.memory_fd = TAKE_FD(rt->memory_fd);
        vm->kept.state_fd = TAKE_FD(rt->state_fd);
        TAILQ_INSERT_TAIL(&m->kept.vms, vm, kept.vms);
        m->kept.size += size;
}

void kept_memory_put_back(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        kept_memory_add(vm);
        rt->memory_fd = close_memory_later(rt->memory_fd);
        rt->state_fd = safe_close(rt->state_fd);
}

void kept_memory_make_room(Manager *m, uint64_t size) {
        uint64_t have, wanted;

        if (m->kept.size == 0)
                return;
        have = available();
        wanted = size + to_stay_available();
        if (have < wanted)
                give_back(m, wanted - have, "a VM starts.");
}

void kept_memory_config_changed(Manager *m) {
        struct sysinfo si;

        m->kept.max = sysinfo(&si) < 0 ? 0 : (uint64_t) ((double) si.totalram * si.mem_unit / 100 * m->config.keep_memory_max);
        if (m->kept.size > m->kept.max)
                give_back(m, m->kept.size - m->kept.max, "KeepMemoryMax= is less now.");
        if (m->kept.size > 0 && !slice_is_unlimited(m->config.slice))
                give_back(m, m->kept.size, "the slice of the VMs has a limit now.");
}
