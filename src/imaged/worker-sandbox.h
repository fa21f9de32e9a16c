/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the import worker takes away from itself before it looks at the first byte of an archive. Two steps,
 * because threads can only be started in between. */

#include "basic/macro.h"

typedef struct SandboxLimits {
        uint64_t memory;    /* address space */
        uint64_t file_size; /* of the output */
        uint64_t cpu_seconds;
} SandboxLimits;

/* While there is one thread: limits, capabilities, namespaces of its own without network, nothing to regain
 * by execve(). What of it the system does not let an unprivileged process have (namespaces) is only missing,
 * with its name in *ret_missing (NULL: nothing is). */
int sandbox_enter(const SandboxLimits *limits, const char **ret_missing);

/* For all threads, for good: read and write what is open, memory, time. No file can be opened, no program
 * executed, no socket made, no process traced, no thread started. Trying the worst of these kills the
 * process. */
int sandbox_seal(void);
