/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "compute/manager.h"

int reconcile_start(Manager *m);

/* A scope of ours without a VM: stopped, unless it may belong to a quarantined one. */
void reconcile_orphan(Manager *m, const char *unit);
