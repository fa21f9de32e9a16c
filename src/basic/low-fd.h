/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For libraries that wait with select(): glibc ends the process when they do so for an fd of FD_SETSIZE (1024) or more, which is
 * soon reached where there is much to hold. One number below it is kept, to be had when such a library opens its fd. */

/* Keeps one, unless one is kept. -EMFILE: they are all taken. */
int low_fd_keep(void);

/* The next fd that is opened, by this thread, has a number below FD_SETSIZE. -EMFILE: it cannot be. */
int low_fd_next(void);

/* Gives the number of fd to be kept. The same file's new number, which may be the old one. */
int low_fd_from(int fd);
