/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* File descriptors that go with bytes over an AF_UNIX socket (SCM_RIGHTS, unix(7)). */

#include <stddef.h>
#include <sys/types.h>

/* The kernel's own limit (SCM_MAX_FD, include/net/scm.h). */
#define FDS_PASS_MAX 253u

/* Sends n bytes (at least 1) and copies of the fds; flags are sendmsg()'s, MSG_NOSIGNAL is added. 0 or -errno. */
int send_fds(int fd, const void *p, size_t n, const int fds[], size_t n_fds, int flags);

/* The same over a stream socket: how many of the bytes went; the fds go with the first. */
ssize_t send_some_fds(int fd, const void *p, size_t n, const int fds[], size_t n_fds, int flags);

/* Receives one datagram and at most max fds (close-on-exec, the caller's); flags are recvmsg()'s. Number of bytes,
 * or -errno: -EMSGSIZE if there was more of either than fits, and then no fd is left open. */
ssize_t receive_fds(int fd, void *p, size_t size, int fds[], size_t max, size_t *ret_n_fds, int flags);
