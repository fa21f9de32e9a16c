/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One line on standard error that is written over again; only for terminals (the caller looks). */

#include "basic/macro.h"

/* step may be NULL; total 0: unknown. others: how many more things are waited for. */
void progress_show(const char *what, const char *step, uint64_t done, uint64_t total, uint64_t elapsed_usec,
                   unsigned others);

/* A bar, when total is known and there is room for it, in front of the text. */
void progress_bar(const char *what, uint64_t done, uint64_t total, const char *text);

/* Removes the line, if one is shown. */
void progress_clear(void);
