/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Closing what takes long to close: the last fd of a TAP waits for the kernel (34 ms measured), and a loop that serves
 * others cannot. */

/* Closes fd, which may be negative, in a thread of its own making, and returns -EBADF at once. Only where no thread can be had it
 * is closed before this returns. */
int close_later(int fd);

/* The same for a memfd: its memory is given back there, too, and by us even where somebody else closes it last (0.36 s for
 * 1.2 GiB). Nobody may have a use for what is in it. */
int close_memory_later(int fd);
