/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/fd-util.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

/* This file is part of hero-init too, and musl has neither renameat2() nor its flags. */
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif

int safe_close(int fd) {
        if (fd >= 0) {
                PROTECT_ERRNO;
                (void) close(fd);
        }
        return -EBADF;
}

void close_many(const int fds[], size_t n) {
        for (size_t i = 0; i < n; i++)
                (void) safe_close(fds[i]);
}

static int fd_flag(int fd, int get, int set, int flag, bool on) {
        int flags, wanted;

        flags = fcntl(fd, get, 0);
        if (flags < 0)
                return negative_errno();
        wanted = on ? flags | flag : flags & ~flag;
        if (wanted != flags && fcntl(fd, set, wanted) < 0)
                return negative_errno();
        return 0;
}

int fd_nonblock(int fd, bool nonblock) {
        return fd_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, nonblock);
}

int fd_cloexec(int fd, bool cloexec) {
        return fd_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, cloexec);
}

int write_all(int fd, const void *p, size_t n) {
        const char *c = p;

        while (n > 0) {
                ssize_t k = write(fd, c, n);

                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return negative_errno();
                }
                if (k == 0)
                        return -EIO;
                c += k;
                n -= (size_t) k;
        }
        return 0;
}

int read_full_fd(int fd, size_t max, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buf = NULL;
        size_t n = 0, allocated = 0;

        for (;;) {
                ssize_t k;

                if (!GREEDY_REALLOC(buf, allocated, n + 4096))
                        return -ENOMEM;
                k = read(fd, buf + n, allocated - n - 1);
                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return negative_errno();
                }
                if (k == 0)
                        break;
                n += (size_t) k;
                if (n > max)
                        return -E2BIG;
        }
        buf[n] = 0;
        *ret = TAKE_PTR(buf);
        if (ret_size)
                *ret_size = n;
        return 0;
}

int read_full_file(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -EBADF;

        /* Not blocking: whoever put a FIFO in the place of a file is not waited for. */
        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return negative_errno();
        return read_full_fd(fd, max, ret, ret_size);
}

int write_file_atomic(int dir_fd, const char *name, const void *p, size_t n, mode_t mode) {
        _cleanup_free_ char *temporary = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        temporary = strprintf(".#%s", name);
        if (!temporary)
                return -ENOMEM;
        /* One writer per directory (the daemon), so a left-over of a crash is simply taken over. */
        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return negative_errno();
        r = write_all(fd, p, n);
        if (r >= 0 && fsync(fd) < 0)
                r = negative_errno();
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = negative_errno();
        if (r >= 0 && fsync(dir_fd) < 0)
                r = negative_errno();
        if (r < 0)
                (void) unlinkat(dir_fd, temporary, 0);
        return r;
}

int tmpfile_open(int dir_fd, mode_t mode, char **ret_name) {
        int fd;

        *ret_name = NULL;
        fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
        if (fd >= 0)
                return fd;
        if (errno != EOPNOTSUPP && errno != EISDIR) /* overlayfs before 6.10 has none */
                return negative_errno();
        for (int i = 0; i < 16; i++) {
                _cleanup_free_ char *name = NULL;
                uint64_t random;

                if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
                        return negative_errno();
                name = strprintf(TMPFILE_PREFIX "%016" PRIx64, random);
                if (!name)
                        return -ENOMEM;
                fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
                if (fd >= 0) {
                        *ret_name = TAKE_PTR(name);
                        return fd;
                }
                if (errno != EEXIST)
                        return negative_errno();
        }
        return -EEXIST;
}

int tmpfile_link(int fd, const char *temporary, int dir_fd, const char *name) {
        char path[32];

        if (temporary)
                return syscall(SYS_renameat2, dir_fd, temporary, dir_fd, name, RENAME_NOREPLACE) < 0 ? negative_errno() : 0;
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0 ? negative_errno() : 0;
}

int open_directory_at(int dir_fd, const char *name, mode_t mode, bool create) {
        int fd;

        if (create && mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
                return negative_errno();
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? negative_errno() : fd;
}

int open_directory_stream(int dir_fd, const char *name, DIR **ret) {
        _cleanup_close_ int fd = -EBADF;

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *ret = fd >= 0 ? fdopendir(fd) : NULL;
        if (!*ret)
                return negative_errno();
        TAKE_FD(fd);
        return 0;
}

static int remove_children(int fd, dev_t dev) {
        DIR *d;
        int r = 0;

        d = fdopendir(fd); /* takes fd over */
        if (!d) {
                r = negative_errno();
                safe_close(fd);
                return r;
        }
        for (;;) {
                struct dirent *de;
                struct stat st;
                int child;

                errno = 0;
                de = readdir(d);
                if (!de) {
                        r = r < 0 ? r : -errno;
                        break;
                }
                if (streq(de->d_name, ".") || streq(de->d_name, ".."))
                        continue;
                if (unlinkat(dirfd(d), de->d_name, 0) >= 0 || errno == ENOENT)
                        continue;
                if (errno != EISDIR && errno != EPERM) {
                        r = negative_errno();
                        continue;
                }
                child = openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                if (child < 0) {
                        r = negative_errno();
                        continue;
                }
                if (fstat(child, &st) < 0 || st.st_dev != dev) {
                        safe_close(child);
                        r = -EXDEV;
                        continue;
                }
                if (remove_children(child, dev) >= 0 && unlinkat(dirfd(d), de->d_name, AT_REMOVEDIR) < 0)
                        r = negative_errno();
        }
        closedir(d);
        return r;
}

int remove_tree_at(int dir_fd, const char *name) {
        struct stat st;
        int fd, r;

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) {
                if (errno == ENOENT)
                        return 0;
                if (errno == ENOTDIR || errno == ELOOP)
                        return unlinkat(dir_fd, name, 0) < 0 ? negative_errno() : 0;
                return negative_errno();
        }
        if (fstat(fd, &st) < 0) {
                r = negative_errno();
                safe_close(fd);
                return r;
        }
        r = remove_children(fd, st.st_dev);
        if (r < 0)
                return r;
        return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? negative_errno() : 0;
}

int pidfd_open_pid(pid_t pid) {
        int fd = (int) syscall(SYS_pidfd_open, pid, 0);

        return fd < 0 ? negative_errno() : fd;
}

int pidfd_send(int pidfd, int signal) {
        return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? negative_errno() : 0;
}
