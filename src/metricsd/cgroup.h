/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The cgroup of one VM, its files kept open: read again from the beginning, the kernel writes them anew. A file of a cgroup that is gone
 * says so (ENODEV), even where another one of that name is there now. */

#include "metricsd/metric.h"

typedef enum CgroupFile {
        CGROUP_CPU_STAT,
        CGROUP_MEMORY_CURRENT,
        CGROUP_MEMORY_PEAK,
        CGROUP_MEMORY_STAT,
        CGROUP_IO_STAT,
        CGROUP_CPU_PRESSURE,
        CGROUP_MEMORY_PRESSURE,
        CGROUP_IO_PRESSURE,
        _CGROUP_FILE_MAX,
} CgroupFile;

typedef struct Cgroup {
        int fds[_CGROUP_FILE_MAX]; /* -EBADF: there is no such file, for want of a controller */
        int statm;                 /* of the VMM's process, only where there is no memory.current */
} Cgroup;

#define CGROUP_NULL                                                                     \
        (Cgroup) {                                                                      \
                .fds = { [0 ... _CGROUP_FILE_MAX - 1] = -EBADF }, .statm = -EBADF,      \
        }

/* The unit's, in our slice or else where the process says. root: of the cgroups; pid 0: none. -ENOENT: it has none. */
int cgroup_open(int root, const char *unit, unsigned pid, Cgroup *ret);
void cgroup_close(Cgroup *c);
bool cgroup_is_open(const Cgroup *c);

/* All but the counters of the network. -ENODEV: it is gone. */
int cgroup_read(const Cgroup *c, Counters *ret);
