/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/low-fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/select.h>

#include "basic/fd-util.h"

static int kept = -EBADF;

int low_fd_keep(void) {
        if (kept >= 0)
                return 0;
        kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (kept < 0)
                return -errno;
        if (kept < FD_SETSIZE)
                return 0;
        kept = safe_close(kept);
        return -EMFILE;
}

int low_fd_next(void) {
        int r;

        r = low_fd_keep();
        kept = safe_close(kept);
        return r;
}

int low_fd_from(int fd) {
        int moved;

        if (kept >= 0)
                return fd;
        moved = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);
        if (moved < 0)
                return fd;
        safe_close(fd);
        (void) low_fd_keep();
        return moved;
}
