/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

#define LOWER "/mnt/lower"
#define LAYER "/mnt/layer"
#define UNION "/mnt/root"

/* "serial:ID" to "/dev/vdX" by what the disks say of themselves. */
static int find_by_serial(const char *serial, char **ret) {
        struct dirent *de;
        int r = -ENODEV;
        DIR *d;

        d = opendir("/sys/block");
        if (!d)
                return negative_errno();
        while (r == -ENODEV && (de = readdir(d))) {
                _cleanup_free_ char *path = NULL, *text = NULL;

                if (!startswith(de->d_name, "vd"))
                        continue;
                path = strprintf("%s/serial", de->d_name);
                if (!path || read_full_file(dirfd(d), path, 256, &text, NULL) < 0)
                        continue;
                if (streq(strstrip(text), serial)) {
                        *ret = strprintf("/dev/%s", de->d_name);
                        r = *ret ? 0 : -ENOMEM;
                }
        }
        closedir(d);
        return r;
}

static int find_device(const char *spec, char **ret, char **ret_why) {
        const char *serial = startswith(spec, "serial:");
        int r;

        if (serial)
                r = find_by_serial(serial, ret);
        else if (startswith(spec, "/dev/") && access(spec, F_OK) >= 0) {
                *ret = strdup(spec);
                r = *ret ? 0 : -ENOMEM;
        } else
                r = -ENODEV;
        if (r < 0)
                *ret_why = strprintf("There is no disk %s", spec);
        return r;
}

/* The file system's name by its magic number, which also says which module to load. */
static const char *probe(const char *device) {
        static const struct {
                off_t offset;
                const char *magic;
                size_t size;
                const char *type;
        } known[] = {
                { 0, "hsqs", 4, "squashfs" },
                { 1024, "\xe2\xe1\xf5\xe0", 4, "erofs" },
                { 1080, "\x53\xef", 2, "ext4" },
        };
        _cleanup_close_ int fd = -EBADF;
        char block[2048];

        fd = open(device, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || pread(fd, block, sizeof(block), 0) != (ssize_t) sizeof(block))
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (memcmp(block + known[i].offset, known[i].magic, known[i].size) == 0)
                        return known[i].type;
        return NULL;
}

static int need_module(const char *type, char **ret_why) {
        _cleanup_free_ char *file = NULL;
        int r;

        r = modules_load_group(type, &file);
        if (r < 0)
                *ret_why = strprintf("Cannot load the module %s for %s: %s", strna(file), type, strerror(-r));
        return r;
}

static int mount_disk(const char *spec, const char *where, bool writable, char **ret_why) {
        _cleanup_free_ char *device = NULL;
        const char *type;
        int r;

        r = find_device(spec, &device, ret_why);
        if (r < 0)
                return r;

        type = probe(device);
        if (!type || streq(type, "ext4") != writable) {
                *ret_why = strprintf(writable ? "The overlay disk %s holds no ext4 file system"
                                              : "The root disk %s holds neither squashfs nor erofs", spec);
                return -EUCLEAN;
        }
        r = need_module(type, ret_why);
        if (r < 0)
                return r;
        if (mount(device, where, type, writable ? 0 : MS_RDONLY, NULL) < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot mount %s (%s): %s", spec, type, strerror(-r));
                return r;
        }
        return 0;
}

/* EXT4_IOC_RESIZE_FS of the kernel's fs/ext4/ext4.h: the new size in blocks. */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

/* The disk may have been made larger while the VM was stopped; its file system follows here, where it belongs to: no tool
 * of the host ever reads what a guest wrote. What fails is only room not gained. */
static void grow_layer(const char *spec) {
        _cleanup_free_ char *device = NULL, *why = NULL;
        _cleanup_close_ int fd = -EBADF, disk_fd = -EBADF;
        uint64_t bytes, blocks;
        struct statfs fs;

        if (find_device(spec, &device, &why) < 0)
                return;
        disk_fd = open(device, O_RDONLY | O_CLOEXEC);
        fd = open(LAYER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (disk_fd < 0 || fd < 0 || ioctl(disk_fd, BLKGETSIZE64, &bytes) < 0 || fstatfs(fd, &fs) < 0 || fs.f_bsize <= 0)
                return;
        blocks = bytes / (uint64_t) fs.f_bsize;
        (void) ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks); /* of the size it has: nothing to do for it */
}

/* What one sees as the root directory is that of the upper layer. */
static void copy_root(void) {
        struct stat st;

        if (stat(LOWER, &st) < 0 || chown(LAYER "/upper", st.st_uid, st.st_gid) < 0 || chmod(LAYER "/upper", st.st_mode & 07777) < 0)
                return;
        (void) utimensat(AT_FDCWD, LAYER "/upper", (struct timespec[2]) { st.st_atim, st.st_mtim }, 0);
}

static int mount_layer(const char *spec, char **ret_why) {
        bool made;
        int r;

        if (spec) {
                r = mount_disk(spec, LAYER, true, ret_why);
                if (r < 0)
                        return r;
                grow_layer(spec);
        } else if (mount("tmpfs", LAYER, "tmpfs", 0, "mode=0755") < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot mount a tmpfs for the overlay: %s", strerror(-r));
                return r;
        }

        made = mkdir(LAYER "/upper", 0755) >= 0;
        if ((!made && errno != EEXIST) || (mkdir(LAYER "/work", 0755) < 0 && errno != EEXIST)) {
                r = negative_errno();
                *ret_why = strprintf("Cannot write to the overlay: %s", strerror(-r));
                return r;
        }
        if (made)
                copy_root();
        return 0;
}

static int mount_union(char **ret_why) {
        int r;

        r = need_module("overlay", ret_why);
        if (r < 0)
                return r;
        /* redirect_dir: a directory of the image can be renamed, as on any other file system. */
        if (mount("overlay", UNION, "overlay", 0,
                            "lowerdir=" LOWER ",upperdir=" LAYER "/upper,workdir=" LAYER "/work,redirect_dir=on") < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot mount the overlay: %s", strerror(-r));
                return r;
        }
        return 0;
}

/* Removes what lies on the initramfs itself: it is memory that nobody can reach any more. Other file systems
 * are left alone. */
static void empty_directory(int dir_fd, dev_t dev) {
        struct dirent *de;
        DIR *d;

        d = fdopendir(dir_fd);
        if (!d) {
                safe_close(dir_fd);
                return;
        }
        while ((de = readdir(d))) {
                struct stat st;
                int fd;

                if (streq(de->d_name, ".") || streq(de->d_name, ".."))
                        continue;
                if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
                        continue;
                if (!S_ISDIR(st.st_mode)) {
                        (void) unlinkat(dirfd(d), de->d_name, 0);
                        continue;
                }
                fd = openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0)
                        empty_directory(fd, dev);
        }
        closedir(d);
}

static void empty_initramfs(void) {
        struct stat st;
        int fd;

        fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) >= 0)
                empty_directory(fd, st.st_dev);
        else
                safe_close(fd);
}

static int move_mounts(char **ret_why) {
        static const struct {
                const char *from, *to;
                mode_t mode;
        } moves[] = {
                { "/dev", UNION "/dev", 0755 },
                { "/proc", UNION "/proc", 0555 },
                { "/sys", UNION "/sys", 0555 },
                { "/run", UNION "/run", 0755 },
                { "/tmp", UNION "/tmp", 01777 },
        };

        for (size_t i = 0; i < ELEMENTSOF(moves); i++) {
                int r;

                /* mount() follows a symbolic link; the image must not choose where these go. */
                if (mkdir(moves[i].to, moves[i].mode) < 0 && errno != EEXIST)
                        r = negative_errno();
                else {
                        struct stat st;

                        if (lstat(moves[i].to, &st) < 0)
                                r = negative_errno();
                        else if (!S_ISDIR(st.st_mode))
                                r = -ENOTDIR;
                        else
                                r = mount(moves[i].from, moves[i].to, NULL, MS_MOVE, NULL) < 0 ? negative_errno() : 0;
                }
                if (r < 0) {
                        *ret_why = strprintf("Cannot mount %s in the image: %s", moves[i].from, strerror(-r));
                        return r;
                }
        }
        return 0;
}

int root_switch(Root *root, const char *root_device, const char *overlay_device, char **ret_why) {
        static const char *const directories[] = { "/mnt", LOWER, LAYER, UNION };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                if (mkdir(directories[i], 0755) < 0 && errno != EEXIST)
                        return negative_errno();

        r = mount_disk(root_device, LOWER, false, ret_why);
        if (r < 0)
                return r;
        r = mount_layer(overlay_device, ret_why);
        if (r < 0)
                return r;
        r = mount_union(ret_why);
        if (r < 0)
                return r;
        r = move_mounts(ret_why);
        if (r < 0)
                return r;

        root->overlay_fd = open(LAYER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root->overlay_fd < 0)
                return negative_errno();
        empty_initramfs();

        /* Not only chroot(): the union must be the root of the mount namespace, or nobody in the guest could
         * make containers (pivot_root() and user namespaces refuse in a chroot). */
        if (chdir(UNION) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) {
                r = negative_errno();
                *ret_why = strprintf("Cannot switch to the image's root: %s", strerror(-r));
                return r;
        }
        return 0;
}

void root_finish(Root *root) {
        sync();

        /* The mounts are below our own root directory and cannot be unmounted; read-only leaves the disk as
         * clean as that: the journal is empty. */
        (void) mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
        if (root->overlay_fd >= 0 && fchdir(root->overlay_fd) >= 0)
                (void) mount(NULL, ".", NULL, MS_REMOUNT | MS_RDONLY, NULL);
        sync();
}
