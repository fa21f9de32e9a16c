/* SPDX-License-Identifier: Apache-2.0 */

/* The console of the mock guest: a banner, an echo, and "poweroff" as on a real one. What nobody reads is lost,
 * as with a serial line. */

#include <stdio.h>
#include <sys/socket.h>

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "hypervisor/mock/mock-state.h"

#define PROMPT "mock# "

static char typed[128];
static size_t n_typed;

static void put(const Mock *m, const char *p, size_t n) {
        if (m->console_fd >= 0)
                (void) send(m->console_fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void mock_console_start(Mock *m) {
        char buf[256];
        int n;

        n = snprintf(buf, sizeof(buf), "Mock guest %s\r\n\r\n" PROMPT, m->name);
        put(m, buf, (size_t) n);
}

static void enter(Mock *m) {
        typed[n_typed] = 0;
        n_typed = 0;
        put(m, "\r\n", 2);
        if (streq(typed, "poweroff"))
                mock_shutdown(m);
        else
                put(m, PROMPT, strlen(PROMPT));
}

void mock_console_input(Mock *m) {
        char buf[512];
        ssize_t n;

        n = recv(m->console_fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n <= 0) {
                if (n == 0 || (errno != EAGAIN && errno != EINTR))
                        m->console_fd = mock_fd_gone(m->console_fd);
                return;
        }
        for (ssize_t i = 0; i < n; i++)
                if (buf[i] == '\r' || buf[i] == '\n')
                        enter(m);
                else {
                        put(m, buf + i, 1);
                        if (n_typed < sizeof(typed) - 1)
                                typed[n_typed++] = buf[i];
                }
}

void mock_console_flood(Mock *m, uint64_t usec) {
        static const char line[] = "All work and no play makes the mock guest a dull boy, line after line after line.\r\n";
        static uint64_t owed;

        owed += m->script.console_flood * usec / USEC_PER_SEC;
        for (; owed > 0; owed -= MIN2(owed, sizeof(line) - 1))
                put(m, line, MIN2(owed, sizeof(line) - 1));
}

void mock_console_state(MockState *s) {
        mock_state_buffer(s, typed, sizeof(typed) - 1, &n_typed);
}
