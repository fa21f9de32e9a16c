/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "metricsd/cgroup-file.h"

#define OUR_SLICE "machine.slice/machine-hero.slice"

static const struct {
        const char *name;
        void (*parse)(const char *text, Counters *c);
} files[_CGROUP_FILE_MAX] = {
        [CGROUP_CPU_STAT] = { "cpu.stat", parse_cpu_stat },
        [CGROUP_MEMORY_CURRENT] = { "memory.current", parse_memory_current },
        [CGROUP_MEMORY_PEAK] = { "memory.peak", parse_memory_peak },
        [CGROUP_MEMORY_STAT] = { "memory.stat", parse_memory_stat },
        [CGROUP_IO_STAT] = { "io.stat", parse_io_stat },
        [CGROUP_CPU_PRESSURE] = { "cpu.pressure", parse_cpu_pressure },
        [CGROUP_MEMORY_PRESSURE] = { "memory.pressure", parse_memory_pressure },
        [CGROUP_IO_PRESSURE] = { "io.pressure", parse_io_pressure },
};

static int open_by_process(int root, const char *unit, unsigned pid) {
        _cleanup_free_ char *path = NULL, *text = NULL, *cgroup = NULL;
        int r;

        path = strprintf("/proc/%u/cgroup", pid);
        if (!path)
                return -ENOMEM;
        r = read_full_file(AT_FDCWD, path, 16384, &text, NULL);
        if (r < 0)
                return r == -ESRCH ? -ENOENT : r;
        r = parse_proc_cgroup(text, unit, &cgroup);
        if (r < 0)
                return r;
        r = openat(root, cgroup + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return r < 0 ? negative_errno() : r;
}

static int open_directory(int root, const char *unit, unsigned pid) {
        _cleanup_free_ char *path = NULL;
        int fd;

        if (isempty(unit) || strchr(unit, '/') || streq(unit, ".") || streq(unit, ".."))
                return -ENOENT;
        path = strprintf(OUR_SLICE "/%s", unit);
        if (!path)
                return -ENOMEM;
        fd = openat(root, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 || errno != ENOENT)
                return fd >= 0 ? fd : negative_errno();
        return pid > 0 ? open_by_process(root, unit, pid) : -ENOENT;
}

static int open_statm(unsigned pid) {
        _cleanup_free_ char *path = strprintf("/proc/%u/statm", pid);
        int fd = path && pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;

        return fd < 0 ? -EBADF : fd;
}

int cgroup_open(int root, const char *unit, unsigned pid, Cgroup *ret) {
        _cleanup_close_ int directory = -EBADF;
        Cgroup c = CGROUP_NULL;

        directory = open_directory(root, unit, pid);
        if (directory < 0)
                return directory;
        for (CgroupFile f = 0; f < _CGROUP_FILE_MAX; f++) {
                int fd = openat(directory, files[f].name, O_RDONLY | O_CLOEXEC);

                if (fd >= 0)
                        c.fds[f] = fd;
                else if (errno != ENOENT && errno != EOPNOTSUPP) {
                        int r = negative_errno();

                        cgroup_close(&c);
                        return r;
                }
        }
        if (c.fds[CGROUP_MEMORY_CURRENT] < 0)
                c.statm = open_statm(pid);
        if (!cgroup_is_open(&c)) /* it went meanwhile */
                return -ENOENT;
        *ret = c;
        return 0;
}

void cgroup_close(Cgroup *c) {
        close_many(c->fds, _CGROUP_FILE_MAX);
        safe_close(c->statm);
        *c = CGROUP_NULL;
}

bool cgroup_is_open(const Cgroup *c) {
        return c->fds[CGROUP_CPU_STAT] >= 0;
}

/* What does not fit is cut off at the end of a line. */
static int read_text(int fd, char *buffer, size_t size) {
        ssize_t n = pread(fd, buffer, size - 1, 0);

        if (n < 0)
                return negative_errno();
        buffer[n] = 0;
        if ((size_t) n == size - 1) {
                char *end = strrchr(buffer, '\n');

                if (end)
                        *end = 0;
        }
        return 0;
}

int cgroup_read(const Cgroup *c, Counters *ret) {
        char buffer[8192];
        int r;

        counters_unknown(ret);
        for (CgroupFile f = 0; f < _CGROUP_FILE_MAX; f++) {
                if (c->fds[f] < 0)
                        continue;
                r = read_text(c->fds[f], buffer, sizeof(buffer));
                if (r == -EOPNOTSUPP) /* pressure of a kernel that does not account it */
                        continue;
                if (r < 0)
                        return r;
                files[f].parse(buffer, ret);
        }
        if (c->statm >= 0 && read_text(c->statm, buffer, sizeof(buffer)) >= 0)
                parse_statm(buffer, ret);
        return 0;
}
