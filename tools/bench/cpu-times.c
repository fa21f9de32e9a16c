/* SPDX-License-Identifier: Apache-2.0 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "bench.h"

/* As in /proc/PID/comm. A launched VMM counts from its fork on: what the launcher does is in there. */
static const char *const processes[CPU_PROCESSES] = {
        "systemd", "dbus-daemon", "hero-computed", "hero-vmm-launch", "hero-mock-vmm", "systemd-journal", "systemd-logind",
};

static int process_of(const char *pid) {
        _cleanup_free_ char *comm = NULL;
        char path[300];

        (void) snprintf(path, sizeof(path), "/proc/%s/comm", pid);
        if (read_full_file(AT_FDCWD, path, 256, &comm, NULL) < 0)
                return -1;
        comm[strcspn(comm, "\n")] = 0;
        for (int i = 0; i < CPU_PROCESSES; i++)
                if (streq(comm, processes[i]))
                        return i;
        return -1;
}

static uint64_t used(const char *pid) {
        _cleanup_free_ char *text = NULL;
        char path[300];

        (void) snprintf(path, sizeof(path), "/proc/%s/schedstat", pid);
        return read_full_file(AT_FDCWD, path, 256, &text, NULL) < 0 ? 0 : strtoull(text, NULL, 10) / 1000;
}

void cpu_times(CpuTimes *ret) {
        struct dirent *e;
        DIR *d;

        *ret = (CpuTimes) {};
        d = opendir("/proc");
        while (d && (e = readdir(d))) {
                int i = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? process_of(e->d_name) : -1;

                if (i >= 0)
                        ret->usec[i] += used(e->d_name);
        }
        if (d)
                (void) closedir(d);
}

void cpu_report(const char *name, const CpuTimes *before, unsigned count) {
        CpuTimes now;

        cpu_times(&now);
        for (int i = 0; i < CPU_PROCESSES; i++) {
                char text[64];

                (void) snprintf(text, sizeof(text), "%s-cpu-%s", name, processes[i]);
                if (now.usec[i] > before->usec[i])
                        report(text, (now.usec[i] - before->usec[i]) / count);
        }
}
