/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Finding everything again after a restart: records on disk, scopes from PID 1, sockets from the fd store. Asynchronous; done()
 * is called when every VM is adopted, finished or undone as far as that needs no waiting, and serving may begin. */

#include "compute/fd-store.h"
#include "compute/manager.h"

typedef void (*adoption_done_t)(Manager *m);

int adoption_begin(Manager *m, FdStore *store, adoption_done_t done);
