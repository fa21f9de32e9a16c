/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Verbs that call one method on each of several VMs and wait for the jobs: start, stop, restart, … */

#include "basic/macro.h"

extern bool arg_no_wait;
#define OPTION_NO_WAIT \
        { 0, "no-wait", NULL, OPTION_FLAG, &arg_no_wait, "Do not wait until it is done" }

/* doing is the verb as it stands in an error ("start"); flags NULL: the method takes none. All calls are made
 * before the first job is waited for. */
int vm_jobs(char *const *names, const char *method, const char *doing, const uint64_t *flags);
