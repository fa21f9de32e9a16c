/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Closing what takes long to close: the last fd of a TAP waits for the kernel (34 ms measured), and a loop that serves
 * others cannot. */

/* Closes fd, which may be negative, in a thread of its own making, and returns -EBADF at once. Only where no thread can be had it
 * is closed before this returns. */
int close_later(int fd);
