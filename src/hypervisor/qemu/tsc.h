/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How fast the host's time stamp counter runs, for a guest without KVM to be told.
 *
 * TCG gives the guest the host's counter. Linux measures its frequency against the emulated PIT, and when the host
 * is busy the measurement fails ("Unable to calibrate against PIT"): a microvm has no other clock to fall back on,
 * and the guest hangs for good in its first milliseconds. Seen in half of all boots on a loaded machine. */

#include "basic/macro.h"

/* Begins to measure, once; the longer ago, the better. */
void tsc_begin(void);

/* kHz; 0 when there is no such counter. Waits, the first time and if tsc_begin() is that recent, a few ms. */
unsigned tsc_khz(void);
