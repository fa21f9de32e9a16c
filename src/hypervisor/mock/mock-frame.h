/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the directive net-echo answers, frame by frame: pure. libc only. */

#include "basic/macro.h"

/* The longest answer that is not as long as what it answers. */
#define MOCK_ANSWER_MIN 86u

/* Makes a frame of n bytes its own answer, in place; room is at least MOCK_ANSWER_MIN and n. The size of the answer, or 0
 * when there is none. Who asks where an IPv4 or IPv6 address lives (ARP, neighbour solicitation) is told: at mac. Every other
 * frame to one machine comes back with the Ethernet addresses swapped and, for IPv4 and IPv6, the addresses and the ports of
 * TCP and UDP, too (so that checksums stay right). Broadcasts, multicasts and what is cut off are dropped. */
size_t mock_frame_answer(uint8_t *frame, size_t n, const uint8_t mac[static 6]);
