/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The launchers (hero-vmm-launch) of this process: one per kind of root that VMMs have, started with the first VM of
 * that kind, and each with one blocked process in hand, so that a start does not wait for one to be made. They end
 * with us: no socket of theirs survives an exec. */

#include "basic/macro.h"

typedef struct Launched {
        pid_t pid;      /* our child */
        int pidfd;
        int control_fd; /* waits for its request, see launch-protocol.h */
} Launched;

/* Takes the process in hand, and has the next one made. kind: the words that say what the root shows. made_of: changes when
 * one of these files is replaced, and then so is the launcher. Waits only where there is none: until a launcher has started, or at
 * most 2 s, twice, for one that is stopped or stuck. */
int launcher_take(const char *kind, size_t n_kind, uint64_t made_of, Launched *ret);

/* For one that cannot be used: ends it, no zombie stays. */
void launched_end(Launched *l);
