/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/string-util.h"

typedef struct Mount {
        const char *what, *where, *type;
        unsigned long flags;
        const char *options;
        mode_t mode;  /* of the directory */
        bool required;
} Mount;

static const Mount early[] = {
        { "devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", 0755, true },
        { "proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, 0555, true },
        { "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, 0555, true },
        { "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666", 0755, true },
        { "tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", 0755, false },
        { "tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", 0755, true },
        { "tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", 01777, true },
        { "cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV, "nsdelegate", 0, false },
};

/* What devtmpfs does not make and every program expects. */
static const char *const links[][2] = {
        { "/proc/self/fd", "/dev/fd" },
        { "/proc/self/fd/0", "/dev/stdin" },
        { "/proc/self/fd/1", "/dev/stdout" },
        { "/proc/self/fd/2", "/dev/stderr" },
};

int mounts_early(void) {
        for (size_t i = 0; i < ELEMENTSOF(early); i++) {
                const Mount *m = early + i;

                if (m->mode != 0 && mkdir(m->where, m->mode) < 0 && errno != EEXIST && m->required)
                        return negative_errno();
                /* The kernel may have mounted devtmpfs already (EBUSY). */
                if (mount(m->what, m->where, m->type, m->flags, m->options) < 0 && errno != EBUSY && m->required)
                        return negative_errno();
        }
        for (size_t i = 0; i < ELEMENTSOF(links); i++)
                (void) symlink(links[i][0], links[i][1]);
        return 0;
}
