/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Signals that an event loop is to take. One that whoever started heroctl has set aside (nohup, a job in the background of
 * a script) stays set aside: blocked, it would come all the same. */

#include <signal.h>

#include "basic/macro.h"

static inline bool signal_is_wanted(int sig) {
        struct sigaction sa;

        return sigaction(sig, NULL, &sa) < 0 || sa.sa_handler != SIG_IGN;
}

/* Blocks those of the n that are wanted; they stay blocked. */
static inline int signals_block(const int *signals, size_t n) {
        sigset_t ss;

        sigemptyset(&ss);
        for (size_t i = 0; i < n; i++)
                if (signal_is_wanted(signals[i]))
                        sigaddset(&ss, signals[i]);
        return sigprocmask(SIG_BLOCK, &ss, NULL) < 0 ? negative_errno() : 0;
}
