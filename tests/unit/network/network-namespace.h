/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A network namespace of the test's own: whatever it makes there is gone with the process. */

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define EXIT_SKIP 77 /* meson's */

/* For main(): 0, or the status to leave with. */
static inline int enter_network_namespace(void) {
        if (unshare(CLONE_NEWNET) >= 0)
                return 0;
        fprintf(stderr, "No network namespace of its own: %s\n", strerror(errno));
        return errno == EPERM || errno == EINVAL || errno == ENOSYS ? EXIT_SKIP : 1;
}
