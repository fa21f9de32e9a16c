/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text that a guest (or whoever named something) wrote, made safe for the terminal of the reader: a console log
 * must not be able to move the cursor, change titles or answer for the keyboard. */

#include "basic/macro.h"

/* A copy in one line: control characters and bytes that are not UTF-8 become "?". NULL: out of memory. */
char *sanitize_line(const char *s);

typedef enum SanitizeState {
        SANITIZE_TEXT,
        SANITIZE_ESCAPE,  /* after ESC */
        SANITIZE_CSI,     /* after ESC [ */
        SANITIZE_STRING,  /* in an OSC, DCS, … string, until BEL or ST */
        SANITIZE_STRING_ESCAPE,
        SANITIZE_C2, /* after 0xc2: may be a control character of two bytes */
} SanitizeState;

/* For streams: colours (ESC [ … m), newline, carriage return, tab and backspace stay, every other control
 * sequence is taken out. State carries over chunk boundaries and starts zeroed. */
typedef struct Sanitizer {
        SanitizeState state;
        char sequence[32]; /* the CSI sequence so far */
        size_t n;
} Sanitizer;

/* Writes at most n + sizeof(sequence) bytes to out, returns how many. */
size_t sanitize_stream(Sanitizer *s, const char *in, size_t n, char *out);
#define SANITIZE_EXTRA sizeof(((Sanitizer *) NULL)->sequence)
