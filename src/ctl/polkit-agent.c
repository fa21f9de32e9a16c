/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/polkit-agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/fd-util.h"

#define PKTTYAGENT "/usr/bin/pkttyagent"
#define AGENT_START_MSEC 5000

static pid_t agent_pid = 0;

void polkit_agent_close(void) {
        if (agent_pid <= 0)
                return;
        kill(agent_pid, SIGTERM);
        kill(agent_pid, SIGCONT);
        while (waitpid(agent_pid, NULL, 0) < 0 && errno == EINTR)
                ;
        agent_pid = 0;
}

_Noreturn static void agent_child(pid_t parent, int notify_fd) {
        char number[16];
        sigset_t none;

        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        fd_cloexec(notify_fd, false);
        snprintf(number, sizeof(number), "%d", notify_fd);
        execl(PKTTYAGENT, PKTTYAGENT, "--notify-fd", number, "--fallback", NULL);
        _exit(EXIT_FAILURE);
}

int polkit_agent_open(void) {
        _cleanup_close_ int wait_fd = -EBADF, notify_fd = -EBADF;
        struct pollfd p;
        pid_t parent = getpid();
        int fds[2];

        if (agent_pid > 0)
                return 1;
        if (geteuid() == 0 || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO) || access(PKTTYAGENT, X_OK) < 0)
                return 0;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        wait_fd = fds[0];
        notify_fd = fds[1];
        agent_pid = fork();
        if (agent_pid < 0)
                return negative_errno();
        if (agent_pid == 0)
                agent_child(parent, notify_fd);
        notify_fd = safe_close(notify_fd);
        atexit(polkit_agent_close);
        /* It closes the pipe when it is registered with polkit, or when it ends. */
        p = (struct pollfd) { .fd = wait_fd };
        (void) poll(&p, 1, AGENT_START_MSEC);
        return 1;
}
