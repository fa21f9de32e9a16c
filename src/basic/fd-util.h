/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <dirent.h>

#include "basic/macro.h"

/* close() that keeps errno, accepts negative numbers and returns -EBADF for "fd = safe_close(fd)". */
int safe_close(int fd);
static inline void closep(int *fd) {
        safe_close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

/* All of them, by safe_close(). */
void close_many(const int fds[], size_t n);

int fd_nonblock(int fd, bool nonblock);
int fd_cloexec(int fd, bool cloexec);

/* Writes all of it to a blocking fd. 0 or -errno. */
int write_all(int fd, const void *p, size_t n);

/* Reads to the end of file: at most max bytes, -E2BIG above. *ret is NUL-terminated. */
int read_full_fd(int fd, size_t max, char **ret, size_t *ret_size);

/* The same of a whole (small) file. A FIFO in its place is -EAGAIN or empty, never waited for. */
int read_full_file(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size);

/* Replaces dir_fd/name by the given content so that a crash leaves the old or the new one: temporary file,
 * fsync, rename, fsync of the directory. */
int write_file_atomic(int dir_fd, const char *name, const void *p, size_t n, mode_t mode);

/* A new file in the directory, open for reading and writing, that has no final name yet: anonymous where the file
 * system can (*ret_name is NULL), else named ".#tmp-…" (so are the left-overs of a crash). tmpfile_link() gives it
 * its name: 0, or -EEXIST when that is taken. Syncing file and directory is the caller's. */
#define TMPFILE_PREFIX ".#tmp-"
int tmpfile_open(int dir_fd, mode_t mode, char **ret_name);
int tmpfile_link(int fd, const char *temporary, int dir_fd, const char *name);

/* Opens a directory, creating it (mode, root) when it is not there; never follows a symlink at its end. */
int open_directory_at(int dir_fd, const char *name, mode_t mode, bool create);

/* Reads a directory, from its beginning; "." for dir_fd itself, which is not moved by it. */
int open_directory_stream(int dir_fd, const char *name, DIR **ret);
static inline void closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}
#define _cleanup_closedir_ _cleanup_(closedirp)

/* Removes a directory with all below it, never following a symlink nor crossing into another file system.
 * -ENOENT is success. */
int remove_tree_at(int dir_fd, const char *name);

int pidfd_open_pid(pid_t pid);                 /* fd or -errno */
int pidfd_send(int pidfd, int signal);         /* 0 or -errno */
