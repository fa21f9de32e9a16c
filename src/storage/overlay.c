/* SPDX-License-Identifier: Apache-2.0 */

/* Overlay disks: templates and their copies. Pure file work on behalf of hero-computed. */

#include "storage/overlay.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

/* Raise when overlay_mkfs_argv() changes, so that templates of older versions are not taken for new ones. */
#define TEMPLATE_VERSION 1
#define TEMPLATE_NAME_MAX 64

#define MKE2FS "/sbin/mke2fs"

/* Every copy has the template's; a VM sees exactly one. */
#define OVERLAY_UUID "6d0c7e5a-1f3b-4c59-8a57-0e5f6f7a3c11"

/* Stated in full so that the host's /etc/mke2fs.conf has no say. meta_bg instead of a resize inode: no
 * blocks set aside, and growing moves next to nothing, offline or from within the guest. */
#define OVERLAY_FEATURES \
        "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super," \
        "meta_bg,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

/* assume_storage_prezeroed: the file is one hole, so neither mke2fs nor later the guest's lazy
 * initialisation has to write zeros into it. packed_meta_blocks with one flex group: bitmaps and inode
 * tables side by side, few extents to copy. */
#define OVERLAY_EXTENDED \
        "nodiscard,assume_storage_prezeroed=1,packed_meta_blocks=1,root_owner=0:0," \
        "hash_seed=" OVERLAY_UUID

bool overlay_size_is_valid(uint64_t size) {
        return size >= OVERLAY_SIZE_MIN && size <= OVERLAY_SIZE_MAX && size % OVERLAY_SIZE_ALIGN == 0;
}

static void template_name(uint64_t size, char buf[static TEMPLATE_NAME_MAX]) {
        (void) snprintf(buf, TEMPLATE_NAME_MAX, "overlay-v%d-%" PRIu64 ".ext4", TEMPLATE_VERSION, size);
}

int overlay_template_open(int dir_fd, uint64_t size) {
        _cleanup_close_ int fd = -EBADF;
        char name[TEMPLATE_NAME_MAX];
        struct stat st;

        if (!overlay_size_is_valid(size))
                return -EINVAL;
        template_name(size, name);
        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return negative_errno();
        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size != size)
                return -EUCLEAN;
        return TAKE_FD(fd);
}

int overlay_template_new(int dir_fd, uint64_t size) {
        _cleanup_free_ char *name = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (!overlay_size_is_valid(size))
                return -EINVAL;
        fd = tmpfile_open(dir_fd, 0600, &name);
        if (fd < 0)
                return fd;
        if (name && unlinkat(dir_fd, name, 0) < 0) /* anonymous here, too */
                return negative_errno();
        if (ftruncate(fd, (off_t) size) < 0)
                return negative_errno();
        return TAKE_FD(fd);
}

char **overlay_mkfs_argv(int fd, uint64_t size) {
        _cleanup_strv_free_ char **argv = NULL;
        /* The journal is at least 1024 blocks, too much of a small disk with blocks of 4K. A larger one than
         * 16M would only be more that the guest can allocate on the host. */
        bool small = size < UINT64_C(64) << 20;
        /* clang-format off */
        const char *const fixed[] = {
                MKE2FS, "-q", "-F", "-t", "ext4", "-m", "0", "-I", "256", "-i", "16384", "-G", "4096",
                "-b", small ? "1024" : "4096",
                "-J", small ? "size=1" : size < UINT64_C(1) << 30 ? "size=4" : "size=16",
                "-L", "hero-overlay", "-U", OVERLAY_UUID, "-O", OVERLAY_FEATURES, "-E", OVERLAY_EXTENDED,
        };
        /* clang-format on */

        for (size_t i = 0; i < ELEMENTSOF(fixed); i++)
                if (strv_extend(&argv, fixed[i]) < 0)
                        return NULL;
        if (strv_extendf(&argv, "/proc/self/fd/%d", fd) < 0)
                return NULL;
        return TAKE_PTR(argv);
}

static int copy_extent(int from, int to, off_t start, off_t end) {
        while (start < end) {
                loff_t in = start, out = start;
                ssize_t n;

                n = copy_file_range(from, &in, to, &out, (size_t) (end - start), 0);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return negative_errno();
                }
                if (n == 0)
                        return -EIO;
                start += n;
        }
        return 0;
}

/* Copies what is allocated; the rest stays a hole. */
static int copy_extents(int from, int to, off_t size) {
        off_t start, end = 0;
        int r;

        if (ftruncate(to, size) < 0)
                return negative_errno();
        for (;;) {
                start = lseek(from, end, SEEK_DATA);
                if (start < 0)
                        return errno == ENXIO ? 0 : negative_errno();
                end = lseek(from, start, SEEK_HOLE);
                if (end < 0)
                        return negative_errno();
                r = copy_extent(from, to, start, end);
                if (r < 0)
                        return r;
        }
}

int overlay_clone(int template_fd, int dir_fd, const char *name) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r = 0;

        if (fstat(template_fd, &st) < 0)
                return negative_errno();
        fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return negative_errno();
        if (ioctl(fd, FICLONE, template_fd) < 0)
                r = copy_extents(template_fd, fd, st.st_size);
        if (r < 0) {
                (void) unlinkat(dir_fd, name, 0);
                return r;
        }
        /* Allocates the blocks and starts the write. With data=ordered the next journal commit (of any
         * fsync) then waits for it, so the disk cannot be found empty after a crash while its VM is on
         * record. */
        (void) sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        return TAKE_FD(fd);
}

/* Where the file system has no anonymous files to give a name to: a copy, under a name that is. */
static int publish_copy(int fd, int dir_fd, const char *name) {
        char temporary[TEMPLATE_NAME_MAX + 8];
        _cleanup_close_ int copy = -EBADF;

        (void) snprintf(temporary, sizeof(temporary), TMPFILE_PREFIX "%s", name);
        (void) unlinkat(dir_fd, temporary, 0); /* of a crash: there is one writer per directory */
        copy = overlay_clone(fd, dir_fd, temporary);
        if (copy < 0)
                return copy;
        if (fsync(copy) < 0 || renameat(dir_fd, temporary, dir_fd, name) < 0) {
                int r = negative_errno();

                (void) unlinkat(dir_fd, temporary, 0);
                return r;
        }
        return 0;
}

int overlay_template_publish(int fd, int dir_fd, uint64_t size) {
        char name[TEMPLATE_NAME_MAX];
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size != size)
                return -EINVAL;
        if (fsync(fd) < 0)
                return negative_errno();
        template_name(size, name);
        r = tmpfile_link(fd, NULL, dir_fd, name);
        if (r == -ENOENT)
                r = publish_copy(fd, dir_fd, name);
        if (r < 0)
                return r == -EEXIST ? 0 : r;
        return fsync(dir_fd) < 0 ? negative_errno() : 0;
}

int overlay_grow(int fd, uint64_t size) {
        struct stat st;

        if (!overlay_size_is_valid(size))
                return -EINVAL;
        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode) || size < (uint64_t) st.st_size)
                return -EINVAL;
        if (size == (uint64_t) st.st_size)
                return 0;
        return ftruncate(fd, (off_t) size) < 0 ? negative_errno() : 0;
}
