/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* History beside the loop: one thread owns the database, for SQLite waits for the disk. It is given passes and questions through a
 * bounded queue and answers into the loop. While the disk does not take anything (full, read-only, broken) it goes on in memory with
 * what fits there, and gives that to the disk when it can. A broken database is put aside as history.db.broken. */

#include <systemd/sd-event.h>

#include "metricsd/database.h"

typedef struct History History;
typedef struct HistoryQuery HistoryQuery;

/* directory NULL: in memory only. */
int history_new(sd_event *event, const char *directory, uint64_t space_max, History **ret);
History *history_free(History *h); /* what is in the queue is written first */
DEFINE_TRIVIAL_CLEANUP_FUNC(History *, history_free);

/* Takes the pass. When the disk does not keep up the oldest one that waits is dropped. */
void history_write(History *h, Pass *pass);

/* error: 0; -ENOENT: nobody knows such a VM; -E2BIG; -errno. points: NULL, or the callee's to read. */
typedef void (*history_done_t)(int error, const Points *points, void *userdata);

/* vm: an id, or a name. -EBUSY: too many wait. done is called once, from the loop. */
int history_query(History *h, const char *vm, uint64_t from, uint64_t to, uint64_t step, history_done_t done, void *userdata);

/* Passes that were lost. */
uint64_t history_dropped(const History *h);
