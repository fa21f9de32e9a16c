/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A helper program run beside the event loop: no shell, no inherited environment but PATH and LANG, stdin from
 * /dev/null, output collected (bounded), a time limit, one callback. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Child Child;

/* status: exit status 0…255, or 128 + signal, or -ETIME, or -errno when it could not be run. output: what it wrote
 * to stdout and stderr (stdout only when status is 0), NUL-terminated, at most 64 KiB, or as
 * much as child_set_output_max() says. The Child is freed afterwards. */
typedef void (*child_done_t)(int status, const char *output, void *userdata);

/* Starts argv[0] (an absolute path). extra_fd (or -EBADF) becomes fd 3 of the program. Freeing the child before it
 * has ended kills it and calls nothing. */
int child_run(sd_event *event, char *const *argv, int extra_fd, uint64_t timeout_usec, child_done_t done,
              void *userdata, Child **ret);

/* The same with several: fds[i] becomes fd 3 + i. */
int child_run_fds(sd_event *event, char *const *argv, const int fds[], size_t n_fds, uint64_t timeout_usec, child_done_t done,
                  void *userdata, Child **ret);

/* Sends it a signal and waits for nothing: done is called when it has ended. For one that writes to a disk, which even
 * SIGKILL may end only after seconds: child_free() would wait for that. 0 or -errno. */
int child_signal(Child *c, int signal);

void child_set_output_max(Child *c, size_t max);

Child *child_free(Child *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Child *, child_free);
