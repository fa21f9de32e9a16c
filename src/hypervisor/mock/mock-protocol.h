/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The monitor of the mock VMM: lines, in both directions, over the inherited socket.
 *
 *     VMM    → daemon   "mock 1"                        greeting, once, first
 *     daemon → VMM      "ID pause|resume|powerdown|quit|status"        ID: decimal
 *                       "ID save|load", with a file beside it (SCM_RIGHTS)
 *     VMM    → daemon   "ID ok", "ID paused", "ID running" (both answers to status), "ID error SENTENCE"
 *     VMM    → daemon   "! EVENT"   at any time; EVENT as in vmm_event_to_string(): paused, resumed,
 *                                   guest-shutdown, host-shutdown, guest-reset, guest-panic
 *
 * save is for a paused VMM with its memory in a file, load for one that is incoming, which is paused from the start. One
 * that cannot load says so and ends with status 1.
 *
 * A paused mock VMM does nothing but answer its monitor. After guest-shutdown, and after host-shutdown (quit,
 * SIGTERM), it ends with status 0. */

#define MOCK_PROGRAM "hero-mock-vmm"
#define MOCK_GREETING "mock 1"
#define MOCK_LINE_MAX 256
