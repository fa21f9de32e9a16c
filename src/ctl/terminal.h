/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The caller's terminal in raw mode, given back as it was on every way out: return, exit(), a fatal signal,
 * a stop. */

#include "basic/macro.h"

/* True when standard input is a terminal. */
bool terminal_is_input(void);

/* Raw mode for the terminal on standard input. -errno. */
int terminal_raw(void);

/* As it was; harmless when nothing was changed, and async-signal-safe. */
void terminal_restore(void);

/* For SIGTSTP: gives the terminal back and stops; call terminal_raw() on SIGCONT. */
void terminal_stop(void);

/* Size of the terminal on standard output or input; -ENOTTY. */
int terminal_size(unsigned *ret_rows, unsigned *ret_columns);

/* "Ctrl-] three times within a second". */
#define ESCAPE_CHARACTER 0x1d
#define ESCAPE_COUNT 3u
#define ESCAPE_WITHIN_USEC (1000 * 1000)
typedef struct EscapeDetector {
        unsigned count;
        uint64_t first_usec;
} EscapeDetector;

/* Looks at n bytes typed at now. Returns how many of them come before the end of the escape, n + 1 when it is not
 * among them. */
size_t escape_detect(EscapeDetector *d, const char *p, size_t n, uint64_t now);
