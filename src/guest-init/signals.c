/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "guest-init/power.h"

static void on_signal(Source *source, uint32_t events) {
        struct signalfd_siginfo si;

        while (read(source->fd, &si, sizeof(si)) > 0)
                ;
        power_reap(source->userdata);
}

int signals_watch(Guest *g) {
        _cleanup_close_ int fd = -EBADF;
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return negative_errno();
        fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return negative_errno();
        r = source_add(g->epoll_fd, &g->signals, fd, EPOLLIN, on_signal, g);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        return 0;
}
