/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/power.h"

#include <signal.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/time-util.h"
#include "guest-init/command.h"
#include "guest-init/console-shell.h"
#include "guest-init/init.h"
#include "guest-init/session.h"

#define ASK_USEC (10 * USEC_PER_SEC)
#define INIT_USEC (18 * USEC_PER_SEC)
#define TERM_USEC (5 * USEC_PER_SEC)
#define KILL_USEC (1 * USEC_PER_SEC)

static void terminate(Guest *g, uint64_t now) {
        g->power = POWER_TERMINATING;
        g->power_deadline = now + TERM_USEC;
        (void) kill(-1, SIGTERM);
        (void) kill(-1, SIGCONT);
        sessions_hangup(g);
        console_shell_stop(g);
        power_reap(g);
}

/* It brings the machine down itself, and is given nearly the time that the host gives us (ShutdownTimeoutSec=). */
static void ask_init(Guest *g, uint64_t now) {
        g->power = POWER_ASKING;
        g->power_deadline = now + INIT_USEC;
        sessions_hangup(g);
        console_shell_stop(g);
        init_ask(g, g->power_mode);
}

void power_begin(Guest *g, GpShutdown mode) {
        if (g->power != POWER_ON)
                return;

        g->phase = GP_PHASE_STOPPING;
        g->power_mode = mode;
        if (g->init_runs)
                return ask_init(g, now_usec(CLOCK_MONOTONIC));
        if (g->command_pid == 0)
                return terminate(g, now_usec(CLOCK_MONOTONIC));
        /* The helpers it may have are its own to end. */
        g->power = POWER_ASKING;
        g->power_deadline = now_usec(CLOCK_MONOTONIC) + ASK_USEC;
        (void) kill(g->command_pid, g->config.stop_signal);
        (void) kill(g->command_pid, SIGCONT);
}

void power_reap(Guest *g) {
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                if (!sessions_reaped(g, pid, status) && !console_shell_reaped(g, pid))
                        (void) command_reaped(g, pid, status);

        /* Whoever loses its parent becomes our child: without any, nobody is left. */
        g->children = pid == 0;
}

void power_pump(Guest *g, uint64_t now) {
        if (g->power == POWER_ON || g->power == POWER_DOWN)
                return;

        if (g->power == POWER_ASKING && g->init_runs) {
                if (now >= g->power_deadline)
                        g->power = POWER_DOWN;
        } else if (g->power == POWER_ASKING) {
                if (g->command_pid > 0 && now < g->power_deadline)
                        return;
                if (g->command_pid > 0)
                        (void) kill(g->command_pid, SIGKILL);
                terminate(g, now);
        } else if (!g->children)
                g->power = POWER_DOWN;
        else if (now >= g->power_deadline) {
                if (g->power == POWER_KILLING)
                        g->power = POWER_DOWN;
                else {
                        g->power = POWER_KILLING;
                        g->power_deadline = now + KILL_USEC;
                        (void) kill(-1, SIGKILL);
                }
        }
}

uint64_t power_deadline(const Guest *g) {
        return g->power == POWER_ON || g->power == POWER_DOWN ? USEC_INFINITY : g->power_deadline;
}

_Noreturn void power_off(Guest *g) {
        root_finish(&g->root);

        /* Without ACPI nothing can switch the machine off, and RB_POWER_OFF would only halt it. A reset ends
         * the VMM as well: it is told not to boot again. */
        if (g->power_mode == GP_POWEROFF && access("/sys/firmware/acpi", F_OK) >= 0)
                (void) reboot(RB_POWER_OFF);
        (void) reboot(RB_AUTOBOOT);
        for (;;)
                pause();
}
