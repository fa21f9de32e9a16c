/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* History in one SQLite database: three tables of the same columns, from fine to coarse, of which each is rolled up into the next and
 * then grows old. Rows are keyed by time and then VM, so that a pass is added at one end and what is old is taken away at the other; a
 * VM's own are found by seeking from one time to the next. Blocks on the disk: see history.h. Times are ms since the epoch. */

#include "metricsd/metric.h"

typedef enum Tier {
        TIER_FINE,    /* as sampled, for an hour */
        TIER_MINUTES, /* for a day */
        TIER_HOURS,   /* for a year */
        _TIER_MAX,
} Tier;

#define VM_ID_MAX 32u
#define VM_NAME_MAX 64u

typedef struct PassRow {
        char id[VM_ID_MAX], name[VM_NAME_MAX];
        Usage usage; /* of a span > 0 */
} PassRow;

typedef struct Pass {
        uint64_t time;  /* when what the rows cover began */
        bool prune;     /* the clock can be trusted to say what is old */
        bool settled;   /* … and that what lies ahead of it was written by a wrong one */
        size_t n, n_allocated;
        PassRow *rows;
} Pass;

Pass *pass_free(Pass *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Pass *, pass_free);

#define POINTS_MAX 10000u

typedef struct Point {
        uint64_t time;
        Usage usage;
} Point;

typedef struct Points {
        char id[VM_ID_MAX];
        uint64_t step;
        Point *points; /* by time, one for each step in which there is something */
        size_t n, n_allocated;
} Points;

void points_done(Points *p);

typedef struct Database Database;

/* path NULL: in memory. Bytes beyond space_max: the oldest of the finest go. -EUCLEAN: it is there and broken, or of a version to come. */
int database_open(const char *path, uint64_t space_max, Database **ret);
Database *database_free(Database *d);
DEFINE_TRIVIAL_CLEANUP_FUNC(Database *, database_free);

/* A whole pass, rolled up and pruned, or nothing of it: -ENOSPC, -EROFS, -EIO, -EUCLEAN. */
int database_write(Database *d, const Pass *pass);

/* Appends the points from … to (not included) of the VM with that id to *p, which has id and step; several of one step may follow each
 * other, see points_merge(). 0 as well when there are none. -E2BIG: more than POINTS_MAX. */
int database_query(Database *d, uint64_t from, uint64_t to, Points *p);

/* The id of a VM that was given by its id or name: of those with the name, the last that was seen. 0 or -ENOENT. */
int database_find(Database *d, const char *text, char ret_id[static VM_ID_MAX]);

/* All that was written to other since it was opened in memory is added to what d has: all of it or nothing, and once. */
int database_copy(Database *d, Database *other);

int points_merge(Points *p);
uint64_t tier_step(Tier t); /* 0 for TIER_FINE */
uint64_t tier_keep(Tier t);
