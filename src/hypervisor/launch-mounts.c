/* SPDX-License-Identifier: Apache-2.0 */

/* The root a VMM sees: an empty tmpfs, and in it, read-only, exactly the paths of its sandbox.
 *
 * The tmpfs is put together on BASE, in a mount namespace where that hides nobody anything, and then becomes
 * the server's root; the old one is gone before there is any VMM. Each VMM gets a copy of the namespace: what they
 * share is read-only. Nothing is to be handed to a VMM from below BASE. */

#include "hypervisor/launch.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"

#define BASE "/sys"

static int mount_one(Launch *l, const char *source, const char *target, const char *type, const char *options) {
        struct libmnt_context *c;
        char text[128] = "";
        int r;

        c = mnt_new_context();
        if (!c)
                return launch_failed(l, ENOMEM, "Cannot mount %s", target);
        /* No helper programs, no fstab, no utab, no symlink resolution: source and target as given. */
        r = mnt_context_disable_helpers(c, 1) ?: mnt_context_disable_mtab(c, 1) ?:
                mnt_context_disable_canonicalize(c, 1) ?: mnt_context_set_optsmode(c, MNT_OMODE_NOTAB) ?:
                mnt_context_set_source(c, source) ?: mnt_context_set_target(c, target) ?:
                (type ? mnt_context_set_fstype(c, type) : 0) ?: mnt_context_set_options(c, options);
        if (r == 0)
                r = mnt_context_mount(c);
        if (r != 0) {
                (void) mnt_context_get_excode(c, r, text, sizeof(text));
                r = mnt_context_syscall_called(c) && mnt_context_get_syscall_errno(c) > 0 ?
                        mnt_context_get_syscall_errno(c) : r < 0 ? -r : EIO;
                r = launch_failed(l, r, "Cannot mount %s with \"%s\" for the VMM", target, options);
        }
        mnt_free_context(c);
        return r;
}

/* BASE + path. The lengths were checked when path was taken up. */
static const char *below_base(char buf[static PATH_MAX], const char *path) {
        (void) snprintf(buf, PATH_MAX, "%s%s", BASE, path);
        return buf;
}

static int make_parents(Launch *l, const char *path) {
        char buf[PATH_MAX];

        (void) below_base(buf, path);
        for (char *p = buf + strlen(BASE) + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                if (mkdir(buf, 0755) < 0 && errno != EEXIST)
                        return launch_failed(l, errno, "Cannot make the directory %s for the VMM", buf);
                *p = '/';
        }
        return 0;
}

/* "/lib64" of a merged /usr stays the symlink it is; what it points to has to be in the sandbox itself. */
static int copy_symlink(Launch *l, const char *path) {
        char target[PATH_MAX], buf[PATH_MAX];
        ssize_t n;

        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return launch_failed(l, errno, "Cannot read the symlink %s", path);
        target[n] = 0;
        if (symlink(target, below_base(buf, path)) < 0 && errno != EEXIST)
                return launch_failed(l, errno, "Cannot make the symlink %s for the VMM", path);
        return 0;
}

static int make_mount_point(Launch *l, const char *path, bool directory) {
        char buf[PATH_MAX];
        int fd;

        (void) below_base(buf, path);
        if (directory)
                return mkdir(buf, 0755) < 0 && errno != EEXIST ?
                        launch_failed(l, errno, "Cannot make the directory %s for the VMM", path) : 0;
        fd = open(buf, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
        if (fd < 0)
                return launch_failed(l, errno, "Cannot make the file %s for the VMM", path);
        safe_close(fd);
        return 0;
}

static int add_path(Launch *l, const char *path, bool device) {
        char buf[PATH_MAX];
        struct stat st;
        int r;

        if (strlen(path) + strlen(BASE) >= PATH_MAX)
                return launch_failed(l, ENAMETOOLONG, "Cannot show %.60s… to the VMM", path);
        if (startswith(path, BASE "/") || streq(path, BASE))
                return launch_failed(l, EINVAL, "Cannot show %s to the VMM, it is below %s", path, BASE);
        if (lstat(path, &st) < 0) {
                if (errno == ENOENT || errno == ENOTDIR)
                        return 0;
                return launch_failed(l, errno, "Cannot look at %s", path);
        }
        if (device && !S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
                return launch_failed(l, ENODEV, "%s is not a device", path);
        /* Visible already, as part of a directory that was added before: nothing can be made in there. */
        if (access(below_base(buf, path), F_OK) >= 0)
                return 0;
        r = make_parents(l, path);
        if (r >= 0 && S_ISLNK(st.st_mode))
                return copy_symlink(l, path);
        if (r >= 0)
                r = make_mount_point(l, path, S_ISDIR(st.st_mode));
        if (r >= 0)
                r = mount_one(l, path, below_base(buf, path), NULL,
                              device ? "bind,nosuid,noexec" : "bind,ro,nosuid,nodev");
        return r;
}

/* "/dev/kvm" belongs to root:kvm, and a VMM to neither. Of what a group may do, only the device it was handed is to
 * be seen in its root. */
static int add_device(Launch *l, const char *path) {
        struct stat st;
        int r;

        r = add_path(l, path, true);
        if (r < 0 || stat(path, &st) < 0)
                return r;
        if (st.st_gid != 0 && (st.st_mode & 0060) == 0060 && l->n_groups < LAUNCH_PATHS_MAX)
                l->groups[l->n_groups++] = st.st_gid;
        return 0;
}

/* Of the processes, the VMM sees itself; of the kernel's files, nothing. No fallback: an older kernel's whole
 * /proc is not something to show to a VMM. */
static int add_proc(Launch *l) {
        int r;

        r = make_mount_point(l, "/proc", true);
        if (r < 0)
                return r;
        return mount_one(l, "proc", BASE "/proc", "proc", "nosuid,nodev,noexec,hidepid=invisible,subset=pid");
}

static int fill(Launch *l) {
        static const char *const devices[] = { LAUNCH_DEVICES };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < l->n_paths; i++)
                r = add_path(l, l->paths[i], false);
        if (r >= 0)
                r = add_path(l, l->argv[0], false);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(devices); i++)
                r = add_device(l, devices[i]);
        for (size_t i = 0; r >= 0 && i < l->n_devices; i++)
                r = add_device(l, l->devices[i]);
        if (r >= 0 && l->proc)
                r = add_proc(l);
        return r;
}

/* pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is then detached. */
static int change_root(Launch *l) {
        if (chdir(BASE) < 0)
                return launch_failed(l, errno, "Cannot enter the VMM's root");
        if (syscall(SYS_pivot_root, ".", ".") < 0)
                return launch_failed(l, errno, "Cannot change to the VMM's root");
        if (umount2(".", MNT_DETACH) < 0)
                return launch_failed(l, errno, "Cannot detach the host's root from the VMM");
        if (chdir("/") < 0)
                return launch_failed(l, errno, "Cannot enter the VMM's root");
        return 0;
}

int launch_mounts(Launch *l) {
        mode_t mask;
        int r;

        /* Nor has it a network: a guest's is the TAP, which it gets open. */
        if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
                return launch_failed(l, errno, "Cannot make mount and network namespaces for the VMM");
        mask = umask(0022); /* the directories are for the VMM's uid to pass through */
        r = mount_one(l, "none", "/", NULL, "rprivate");
        if (r >= 0)
                r = mount_one(l, "hero-vmm", BASE, "tmpfs", "mode=755,size=64k,nr_inodes=128,nosuid,nodev,noexec");
        if (r >= 0)
                r = fill(l);
        if (r >= 0)
                r = mount_one(l, "hero-vmm", BASE, "tmpfs", "remount,ro,nosuid,nodev,noexec");
        if (r >= 0)
                r = change_root(l);
        (void) umask(mask);
        return r;
}
