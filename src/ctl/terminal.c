/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t is_raw = 0;
static bool prepared = false;

bool terminal_is_input(void) {
        return isatty(STDIN_FILENO);
}

void terminal_restore(void) {
        PROTECT_ERRNO;

        if (!is_raw)
                return;
        is_raw = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &saved); /* TCSADRAIN could wait for a reader for ever */
}

static void on_fatal_signal(int sig) {
        terminal_restore();
        raise(sig); /* SA_RESETHAND: now with its default */
}

/* What the event loop does not take: the terminal must not stay raw when this program is the one that fails.
 * SIGTERM, SIGHUP, … are taken by the loop where there is one; blocked, they never come here. */
static void catch_fatal_signals(void) {
        static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGHUP, SIGINT, SIGQUIT };
        struct sigaction sa = { .sa_handler = on_fatal_signal, .sa_flags = (int) SA_RESETHAND };

        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaction(signals[i], &sa, NULL);
}

int terminal_raw(void) {
        struct termios raw;

        if (!prepared) {
                if (tcgetattr(STDIN_FILENO, &saved) < 0)
                        return negative_errno();
                atexit(terminal_restore);
                catch_fatal_signals();
                prepared = true;
        }
        raw = saved;
        cfmakeraw(&raw);
        is_raw = 1; /* first: restoring what was not changed does no harm, the other way round does */
        if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
                return negative_errno();
        return 0;
}

void terminal_stop(void) {
        terminal_restore();
        raise(SIGSTOP);
}

int terminal_size(unsigned *ret_rows, unsigned *ret_columns) {
        struct winsize ws;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
                return negative_errno();
        if (ws.ws_row == 0 || ws.ws_col == 0)
                return -ENOTTY;
        *ret_rows = ws.ws_row;
        *ret_columns = ws.ws_col;
        return 0;
}

size_t escape_detect(EscapeDetector *d, const char *p, size_t n, uint64_t now) {
        for (size_t i = 0; i < n; i++) {
                if (p[i] != ESCAPE_CHARACTER) {
                        d->count = 0;
                        continue;
                }
                if (d->count == 0 || now - d->first_usec > ESCAPE_WITHIN_USEC) {
                        d->first_usec = now;
                        d->count = 0;
                }
                d->count++;
                if (d->count == ESCAPE_COUNT) {
                        d->count = 0;
                        return i;
                }
        }
        return n + 1;
}
