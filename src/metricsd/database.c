/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/database.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <uthash.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

#define SCHEMA_VERSION 1
#define KEYS_MAX 20000u
#define SEEKS_MAX 100000u
#define SECOND UINT64_C(1000)

/* Passes follow each other within so much, or else the clock was set, or nothing was measured for long. */
#define FOLLOWS_MAX (600 * SECOND)

/* One part of so many of a table goes at a time. */
#define SHRINK_PART 32

/* What is ahead of the clock by no more than this may be so because it was put right by a little. */
#define AHEAD_MAX (60 * SECOND)

static const struct {
        const char *table;
        uint64_t step, keep;
} tiers[_TIER_MAX] = {
        [TIER_FINE] = { "fine", 0, 3600 * SECOND },
        [TIER_MINUTES] = { "minutes", 60 * SECOND, 86400 * SECOND },
        [TIER_HOURS] = { "hours", 3600 * SECOND, UINT64_C(366) * 86400 * SECOND },
};

/* An id and the number that stands for it in the tables. */
typedef struct Key {
        char id[VM_ID_MAX];
        int64_t key;
        UT_hash_handle hh;
} Key;

struct Database {
        sqlite3 *sqlite;
        uint64_t space_max, page_size;
        sqlite3_stmt *begin, *commit, *rollback, *pages, *find_id, *find_name, *add_vm, *rename_vm, *touch_vms, *correct_vms, *see_vm,
                *forget_vms;
        sqlite3_stmt *insert[_TIER_MAX], *seek[_TIER_MAX], *oldest[_TIER_MAX], *newest[_TIER_MAX], *delete[_TIER_MAX], *roll[_TIER_MAX];
        uint64_t last;              /* time of the last pass; 0: none since it was opened */
        uint64_t rolled[_TIER_MAX]; /* of its time: everything before it has been rolled up into the table */
        Key *keys;
};

uint64_t tier_step(Tier t) {
        return tiers[t].step;
}

uint64_t tier_keep(Tier t) {
        return tiers[t].keep;
}

static int error_of(int sqlite) {
        switch (sqlite & 0xff) {
        case SQLITE_OK:
        case SQLITE_ROW:
        case SQLITE_DONE:
                return 0;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_SCHEMA:
                return -EUCLEAN;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        default:
                return -EIO;
        }
}

Pass *pass_free(Pass *p) {
        if (!p)
                return NULL;
        free(p->rows);
        return mfree(p);
}

void points_done(Points *p) {
        free(p->points);
        *p = (Points) {};
}

/* One row or none: 1, 0 or -errno. The statement is to be reset when its row has been read. */
static int step(sqlite3_stmt *s) {
        int r = sqlite3_step(s);

        if (r == SQLITE_ROW)
                return 1;
        (void) sqlite3_reset(s);
        return error_of(r);
}

static void bind(sqlite3_stmt *s, int i, uint64_t v) {
        (void) sqlite3_bind_int64(s, i, (int64_t) MIN2(v, (uint64_t) INT64_MAX));
}

static uint64_t column(sqlite3_stmt *s, int i) {
        if (sqlite3_column_type(s, i) == SQLITE_NULL)
                return VALUE_UNKNOWN;
        return (uint64_t) MAX2(sqlite3_column_int64(s, i), 0);
}

/* Of one value; *ret is untouched when there is none. 1, 0 or -errno. */
static int get_value(sqlite3_stmt *s, uint64_t *ret) {
        int r = step(s);

        if (r <= 0)
                return r;
        r = sqlite3_column_type(s, 0) != SQLITE_NULL;
        if (r)
                *ret = column(s, 0);
        (void) sqlite3_reset(s);
        return r;
}

static int execute(Database *d, const char *sql) {
        return error_of(sqlite3_exec(d->sqlite, sql, NULL, NULL, NULL));
}

static int prepare(Database *d, sqlite3_stmt **ret, const char *format, ...) _printf_(3, 4);
static int prepare(Database *d, sqlite3_stmt **ret, const char *format, ...) {
        char *sql = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&sql, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        r = error_of(sqlite3_prepare_v3(d->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL));
        free(sql);
        return r;
}

/* The columns of metrics: FORMAT for each, with commas before them; "%s" in it is the column. */
static char *for_columns(const char *const formats[static 4]) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        for (Metric m = 0; m < _METRIC_MAX; m++)
                for (const char *p = formats[metric_info[m].type]; *p; p++)
                        fprintf(f, *p == '%' ? "%s" : "%.1s", *p == '%' ? metric_info[m].column : p);
        if (fclose(f) != 0)
                return mfree(text);
        return text;
}

static const char *const column_names[] = { ", %", ", %", ", %", ", %" };
static const char *const column_types[] = { ", % INTEGER", ", % INTEGER", ", % INTEGER", ", % INTEGER" };
static const char *const column_holes[] = { ", ?", ", ?", ", ?", ", ?" };
static const char *const column_sums[] = {
        [METRIC_RATE] = ", sum(%)",
        [METRIC_PERCENT] = ", sum(%)",
        [METRIC_MEAN] = ", CAST(sum(1.0 * % * span) / sum(CASE WHEN % IS NOT NULL THEN span END) + 0.5 AS INTEGER)",
        [METRIC_MAXIMUM] = ", max(%)",
};

static int create_schema(Database *d) {
        _cleanup_free_ char *types = for_columns(column_types);
        int r;

        if (!types)
                return -ENOMEM;
        r = execute(d, "BEGIN IMMEDIATE");
        if (r >= 0)
                r = execute(d, "CREATE TABLE vms (key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, "
                               "seen INTEGER NOT NULL);"
                               "CREATE INDEX vms_by_name ON vms (name, seen)");
        for (Tier t = 0; r >= 0 && t < _TIER_MAX; t++) {
                _cleanup_free_ char *sql = strprintf("CREATE TABLE %s (time INTEGER NOT NULL, vm INTEGER NOT NULL, span INTEGER "
                                                     "NOT NULL%s, PRIMARY KEY (time, vm)) WITHOUT ROWID",
                                                     tiers[t].table, types);

                r = sql ? execute(d, sql) : -ENOMEM;
        }
        if (r >= 0)
                r = execute(d, "PRAGMA user_version = " STRINGIFY(SCHEMA_VERSION));
        return r < 0 ? r : execute(d, "COMMIT");
}

static int check_schema(Database *d) {
        sqlite3_stmt *s = NULL;
        uint64_t version = 0;
        int r;

        r = prepare(d, &s, "PRAGMA user_version");
        if (r >= 0)
                r = get_value(s, &version);
        (void) sqlite3_finalize(s);
        if (r < 0)
                return r;
        if (version == 0)
                return create_schema(d);
        return version == SCHEMA_VERSION ? 0 : -EUCLEAN;
}

static int prepare_tier(Database *d, Tier t, const char *names, const char *holes) {
        const char *table = tiers[t].table;
        int r;

        r = prepare(d, d->insert + t, "INSERT OR REPLACE INTO %s (time, vm, span%s) VALUES (?, ?, ?%s)", table, names, holes);
        if (r >= 0)
                r = prepare(d, d->seek + t, "SELECT time, vm, span%s FROM %s WHERE (time, vm) >= (?, ?) ORDER BY time, vm LIMIT 1", names,
                            table);
        if (r >= 0)
                r = prepare(d, d->oldest + t, "SELECT min(time) FROM %s", table);
        if (r >= 0)
                r = prepare(d, d->newest + t, "SELECT max(time) FROM %s WHERE time < ?", table);
        if (r >= 0)
                r = prepare(d, d->delete + t, "DELETE FROM %s WHERE time >= ? AND time < ?", table);
        if (r >= 0 && t > 0) {
                _cleanup_free_ char *sums = for_columns(column_sums);

                r = !sums ? -ENOMEM
                          : prepare(d, d->roll + t,
                                    "INSERT OR REPLACE INTO %s (time, vm, span%s) SELECT time / %" PRIu64 " * %" PRIu64
                                    " AS slot, vm, sum(span)%s FROM %s WHERE time >= ? AND time < ? GROUP BY slot, vm",
                                    table, names, tiers[t].step, tiers[t].step, sums, tiers[t - 1].table);
        }
        return r;
}

static int prepare_all(Database *d) {
        _cleanup_free_ char *names = for_columns(column_names), *holes = for_columns(column_holes);
        int r;

        if (!names || !holes)
                return -ENOMEM;
        r = prepare(d, &d->begin, "BEGIN IMMEDIATE");
        if (r >= 0)
                r = prepare(d, &d->commit, "COMMIT");
        if (r >= 0)
                r = prepare(d, &d->rollback, "ROLLBACK");
        if (r >= 0)
                r = prepare(d, &d->pages, "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count");
        if (r >= 0)
                r = prepare(d, &d->find_id, "SELECT key, name FROM vms WHERE id = ?");
        if (r >= 0)
                r = prepare(d, &d->find_name, "SELECT id FROM vms WHERE name = ? ORDER BY seen DESC LIMIT 1");
        if (r >= 0)
                r = prepare(d, &d->add_vm, "INSERT INTO vms (id, name, seen) VALUES (?, ?, ?)");
        if (r >= 0)
                r = prepare(d, &d->rename_vm, "UPDATE vms SET name = ? WHERE key = ?");
        if (r >= 0)
                r = prepare(d, &d->touch_vms, "UPDATE vms SET seen = ? WHERE key IN (SELECT DISTINCT vm FROM fine WHERE time >= ?)");
        if (r >= 0)
                r = prepare(d, &d->correct_vms, "UPDATE vms SET seen = ?1 WHERE seen > ?1");
        if (r >= 0)
                r = prepare(d, &d->see_vm, "UPDATE vms SET seen = max(seen, ?) WHERE key = ?");
        if (r >= 0)
                r = prepare(d, &d->forget_vms, "DELETE FROM vms WHERE seen < ?");
        for (Tier t = 0; r >= 0 && t < _TIER_MAX; t++)
                r = prepare_tier(d, t, names, holes);
        return r;
}

/* Where roll-ups stopped, of those before time: what a clock that was ahead left does not count. A jump may have ended the last one
 * early; it counts where what it was made of is not there any more. */
static int find_rolled(Database *d, Tier t, uint64_t time, uint64_t *ret) {
        uint64_t newest, oldest;
        int r;

        *ret = 0;
        bind(d->newest[t], 1, time);
        r = get_value(d->newest[t], &newest);
        if (r <= 0)
                return r;
        r = get_value(d->oldest[t - 1], &oldest);
        *ret = r > 0 && oldest <= newest ? newest : newest + tiers[t].step;
        return r < 0 ? r : 0;
}

static int read_page_size(Database *d) {
        sqlite3_stmt *s = NULL;
        int r;

        d->page_size = 4096;
        r = prepare(d, &s, "PRAGMA page_size");
        if (r >= 0)
                r = get_value(s, &d->page_size);
        (void) sqlite3_finalize(s);
        return r;
}

int database_open(const char *path, uint64_t space_max, Database **ret) {
        _cleanup_(database_freep) Database *d = NULL;
        int r;

        d = new0(Database, 1);
        if (!d)
                return -ENOMEM;
        d->space_max = space_max;
        r = sqlite3_open_v2(path ?: ":memory:", &d->sqlite,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        if (r != SQLITE_OK)
                return error_of(r);
        (void) sqlite3_extended_result_codes(d->sqlite, 1);
        (void) sqlite3_busy_timeout(d->sqlite, 2000);
        /* A power cut may cost what came since the last checkpoint, never the database. */
        r = execute(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 8388608; "
                       "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096");
        if (r >= 0)
                r = check_schema(d);
        if (r >= 0)
                r = read_page_size(d);
        if (r >= 0)
                r = prepare_all(d);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(d);
        return 0;
}

static void forget_keys(Database *d) {
        Key *k, *next;

        HASH_ITER(hh, d->keys, k, next) {
                HASH_DEL(d->keys, k);
                free(k);
        }
}

Database *database_free(Database *d) {
        if (!d)
                return NULL;
        forget_keys(d);
        for (sqlite3_stmt *s; (s = sqlite3_next_stmt(d->sqlite, NULL));)
                (void) sqlite3_finalize(s);
        (void) sqlite3_close(d->sqlite);
        return mfree(d);
}

static int remember_key(Database *d, const char *id, int64_t key) {
        Key *k;

        if (HASH_COUNT(d->keys) >= KEYS_MAX)
                forget_keys(d);
        k = new0(Key, 1);
        if (!k)
                return -ENOMEM;
        (void) snprintf(k->id, sizeof(k->id), "%s", id);
        k->key = key;
        HASH_ADD_STR(d->keys, id, k);
        return 0;
}

/* Of a VM whose name may be another one than it had. */
static int rename_vm(Database *d, int64_t key, const char *name) {
        (void) sqlite3_bind_text(d->rename_vm, 1, name, -1, SQLITE_STATIC);
        (void) sqlite3_bind_int64(d->rename_vm, 2, key);
        return step(d->rename_vm);
}

/* 1: it is known, 0: it is not. */
static int find_key(Database *d, const char *id, const char *name, int64_t *ret) {
        bool renamed;
        Key *k;
        int r;

        HASH_FIND_STR(d->keys, id, k);
        if (k) {
                *ret = k->key;
                return 1;
        }
        (void) sqlite3_bind_text(d->find_id, 1, id, -1, SQLITE_STATIC);
        r = step(d->find_id);
        if (r <= 0)
                return r;
        *ret = sqlite3_column_int64(d->find_id, 0);
        renamed = name && !streq_ptr((const char *) sqlite3_column_text(d->find_id, 1), name);
        (void) sqlite3_reset(d->find_id);
        if (renamed)
                r = rename_vm(d, *ret, name);
        if (r >= 0)
                r = remember_key(d, id, *ret);
        return r < 0 ? r : 1;
}

static int find_or_add_key(Database *d, const char *id, const char *name, uint64_t now, int64_t *ret) {
        int r;

        r = find_key(d, id, name, ret);
        if (r != 0)
                return r;
        (void) sqlite3_bind_text(d->add_vm, 1, id, -1, SQLITE_STATIC);
        (void) sqlite3_bind_text(d->add_vm, 2, name, -1, SQLITE_STATIC);
        bind(d->add_vm, 3, now);
        r = step(d->add_vm);
        if (r < 0)
                return r;
        *ret = sqlite3_last_insert_rowid(d->sqlite);
        return remember_key(d, id, *ret);
}

static int insert_usage(Database *d, Tier t, uint64_t time, int64_t key, const Usage *usage) {
        sqlite3_stmt *s = d->insert[t];

        bind(s, 1, time);
        (void) sqlite3_bind_int64(s, 2, key);
        bind(s, 3, usage->span);
        for (Metric m = 0; m < _METRIC_MAX; m++)
                if (usage->v[m] == VALUE_UNKNOWN)
                        (void) sqlite3_bind_null(s, 4 + (int) m);
                else
                        bind(s, 4 + (int) m, usage->v[m]);
        return step(s);
}

static int insert_row(Database *d, uint64_t time, const PassRow *row) {
        int64_t key;
        int r;

        r = find_or_add_key(d, row->id, row->name, time, &key);
        return r < 0 ? r : insert_usage(d, TIER_FINE, time, key, &row->usage);
}

static int delete_between(Database *d, Tier t, uint64_t from, uint64_t to) {
        bind(d->delete[t], 1, from);
        bind(d->delete[t], 2, to);
        return step(d->delete[t]);
}

static int is_too_large(Database *d) {
        uint64_t pages = 0;
        int r;

        r = get_value(d->pages, &pages);
        return r < 0 ? r : pages * d->page_size > d->space_max;
}

/* The oldest part of what a table has before end. 1; 0: there was nothing. */
static int delete_part(Database *d, Tier t, uint64_t end) {
        uint64_t oldest;
        int r;

        r = get_value(d->oldest[t], &oldest);
        if (r <= 0 || oldest >= end)
                return MIN2(r, 0);
        r = delete_between(d, t, 0, oldest + MAX2((end - oldest) / SHRINK_PART, UINT64_C(1)));
        return r < 0 ? r : 1;
}

/* The finest first, of which the coarser tables have the essence; the hours are there for a year. At last what is not rolled up yet, or
 * lies ahead of the clock. */
static int shrink_once(Database *d, uint64_t now, const uint64_t rolled[static _TIER_MAX]) {
        const uint64_t ends[_TIER_MAX] = {
                [TIER_FINE] = rolled[TIER_MINUTES],
                [TIER_MINUTES] = rolled[TIER_HOURS],
                [TIER_HOURS] = now + 1,
        };
        int r = 0;

        for (Tier t = 0; r == 0 && t < _TIER_MAX; t++)
                r = delete_part(d, t, ends[t]);
        for (Tier t = 0; r == 0 && t < _TIER_MAX; t++) {
                uint64_t newest;

                bind(d->newest[t], 1, UINT64_MAX);
                r = get_value(d->newest[t], &newest);
                if (r > 0)
                        r = delete_part(d, t, newest + 1);
        }
        return r;
}

/* Where the pages in use take more than they may. */
static int shrink(Database *d, uint64_t now, const uint64_t rolled[static _TIER_MAX]) {
        int r;

        do {
                r = is_too_large(d);
                if (r > 0)
                        r = shrink_once(d, now, rolled);
        } while (r > 0);
        return r;
}

/* What a clock that was ahead wrote: it would wait for its time, and then be taken for true. */
static int delete_ahead(Database *d, uint64_t now) {
        int r = 0;

        for (Tier t = 0; r >= 0 && t < _TIER_MAX; t++)
                r = delete_between(d, t, now + AHEAD_MAX, UINT64_MAX);
        if (r < 0)
                return r;
        bind(d->correct_vms, 1, now);
        return step(d->correct_vms);
}

static int prune(Database *d, uint64_t now, bool hour) {
        int r = 0;

        for (Tier t = 0; r >= 0 && t < _TIER_MAX; t++)
                if (now > tiers[t].keep)
                        r = delete_between(d, t, 0, now - tiers[t].keep);
        if (r < 0 || !hour || now <= tiers[TIER_HOURS].keep)
                return r;
        bind(d->forget_vms, 1, now - tiers[TIER_HOURS].keep - tiers[TIER_HOURS].step);
        r = step(d->forget_vms);
        forget_keys(d);
        return r;
}

/* Instead of what is there of that time, which the clock came by before. */
static int roll(Database *d, Tier t, uint64_t from, uint64_t to) {
        int r;

        r = delete_between(d, t, from, to);
        if (r < 0)
                return r;
        bind(d->roll[t], 1, from);
        bind(d->roll[t], 2, to);
        return step(d->roll[t]);
}

/* What ended before time; the greatest tier in which that is something. When passes do not follow each other it goes on where it
 * stopped at that time: a clock that was put back rolls up again what it comes by again, and nothing of what it went over in a jump. */
static int roll_up(Database *d, uint64_t time, uint64_t rolled[static _TIER_MAX]) {
        bool follows = d->last > 0 && time >= d->last && time - d->last <= FOLLOWS_MAX;
        int r = 0, changed = 0;

        for (Tier t = 1; t < _TIER_MAX; t++) {
                uint64_t end = time - time % tiers[t].step, from = d->rolled[t];

                rolled[t] = end;
                if (!follows)
                        r = find_rolled(d, t, end, &from);
                if (r >= 0 && from < end) {
                        r = roll(d, t, from, end);
                        changed = (int) t;
                }
                if (r < 0)
                        return r;
        }
        return changed;
}

static int touch_vms(Database *d, uint64_t time) {
        bind(d->touch_vms, 1, time);
        bind(d->touch_vms, 2, time > tiers[TIER_FINE].keep ? time - tiers[TIER_FINE].keep : 0);
        return step(d->touch_vms);
}

/* What a clock that was ahead left in the time of the pass: it was not then. */
static int supersede(Database *d, const Pass *pass) {
        uint64_t span = 0;

        for (size_t i = 0; i < pass->n; i++)
                span = MAX2(span, pass->rows[i].usage.span);
        return delete_between(d, TIER_FINE, pass->time + 1, pass->time + span / USEC_PER_MSEC);
}

static int write_rows(Database *d, const Pass *pass, uint64_t rolled[static _TIER_MAX]) {
        int r, changed;

        r = step(d->begin);
        if (r >= 0)
                r = supersede(d, pass);
        for (size_t i = 0; r >= 0 && i < pass->n; i++)
                r = insert_row(d, pass->time, pass->rows + i);
        if (r >= 0)
                r = roll_up(d, pass->time, rolled);
        if (r < 0)
                return r;
        changed = r;
        if (changed == TIER_HOURS)
                r = touch_vms(d, pass->time);
        if (r >= 0 && changed && pass->prune)
                r = prune(d, pass->time, changed == TIER_HOURS);
        if (r >= 0 && changed && pass->settled)
                r = delete_ahead(d, pass->time);
        if (r >= 0 && changed)
                r = shrink(d, pass->time, rolled);
        return r < 0 ? r : step(d->commit);
}

/* Of a transaction that failed. */
static void take_back(Database *d) {
        if (!sqlite3_get_autocommit(d->sqlite))
                (void) step(d->rollback);
        forget_keys(d); /* some may not have been added after all */
}

int database_write(Database *d, const Pass *pass) {
        uint64_t rolled[_TIER_MAX] = {};
        int r;

        r = write_rows(d, pass, rolled);
        if (r < 0) {
                take_back(d);
                return r;
        }
        memcpy(d->rolled, rolled, sizeof(rolled));
        d->last = pass->time;
        return 0;
}

static Point *add_point(Points *p, uint64_t time) {
        Point *last = p->n > 0 ? p->points + p->n - 1 : NULL;

        if (last && last->time == time)
                return last;
        if (p->n >= 2 * POINTS_MAX || !GREEDY_REALLOC(p->points, p->n_allocated, p->n + 1))
                return NULL;
        p->points[p->n] = (Point) { .time = time };
        return p->points + p->n++;
}

static int add_usage(Points *p, uint64_t time, const Usage *usage) {
        Point *point = add_point(p, p->step > 0 ? time - time % p->step : time);

        if (!point)
                return p->n >= 2 * POINTS_MAX ? -E2BIG : -ENOMEM;
        if (point->usage.span == 0)
                point->usage = *usage;
        else
                usage_add(&point->usage, usage);
        return 0;
}

static void read_usage(sqlite3_stmt *s, Usage *ret) {
        ret->span = column(s, 2);
        for (Metric m = 0; m < _METRIC_MAX; m++)
                ret->v[m] = column(s, 3 + (int) m);
}

/* The VM's rows of one table, from … to (not included). */
static int query_tier(Database *d, Tier t, int64_t key, uint64_t from, uint64_t to, Points *p) {
        sqlite3_stmt *s = d->seek[t];
        int r;

        for (unsigned i = 0; from < to; i++) {
                int64_t vm;
                uint64_t time;

                if (i >= SEEKS_MAX)
                        return -E2BIG;
                bind(s, 1, from);
                (void) sqlite3_bind_int64(s, 2, key);
                r = step(s);
                if (r <= 0)
                        return r;
                time = column(s, 0);
                vm = sqlite3_column_int64(s, 1);
                if (vm == key && time < to) {
                        Usage usage;

                        read_usage(s, &usage);
                        r = usage.span > 0 ? add_usage(p, time, &usage) : 0;
                }
                (void) sqlite3_reset(s);
                if (r < 0)
                        return r;
                from = vm < key && time > from ? time : time + 1;
        }
        return 0;
}

/* Up to where the table speaks for the VMs, as finer ones do not reach back any further; of the one that is wanted: as far as it is
 * rolled up. */
static int tier_end(Database *d, Tier t, Tier wanted, uint64_t to, uint64_t *ret) {
        uint64_t oldest, rolled = d->rolled[t];
        int r = 0;

        if (d->last == 0 && t > TIER_FINE)
                r = find_rolled(d, t, to, &rolled);
        *ret = t == TIER_FINE ? to : MIN2(to, rolled);
        if (r < 0 || t <= wanted)
                return r;
        r = get_value(d->oldest[t - 1], &oldest);
        if (r > 0) {
                oldest += tiers[t].step - 1;
                *ret = MIN2(*ret, oldest - oldest % tiers[t].step);
        }
        return r < 0 ? r : 0;
}

int database_query(Database *d, uint64_t from, uint64_t to, Points *p) {
        Tier wanted = _TIER_MAX - 1;
        int64_t key;
        int r;

        r = find_key(d, p->id, NULL, &key);
        if (r <= 0)
                return r;
        while (wanted > TIER_FINE && p->step < tiers[wanted].step)
                wanted--;
        for (int t = _TIER_MAX - 1; t >= TIER_FINE; t--) {
                uint64_t end;

                r = tier_end(d, (Tier) t, wanted, to, &end);
                if (r >= 0 && end > from) /* with the point that from is within */
                        r = query_tier(d, (Tier) t, key, from - (tiers[t].step > 0 ? from % tiers[t].step : 0), end, p);
                if (r < 0)
                        return r;
                from = MAX2(from, end);
        }
        return 0;
}

int database_find(Database *d, const char *text, char ret_id[static VM_ID_MAX]) {
        int64_t key;
        int r;

        if (strlen(text) < VM_ID_MAX) {
                r = find_key(d, text, NULL, &key);
                if (r < 0)
                        return r;
                if (r > 0) {
                        (void) snprintf(ret_id, VM_ID_MAX, "%s", text);
                        return 0;
                }
        }
        (void) sqlite3_bind_text(d->find_name, 1, text, -1, SQLITE_STATIC);
        r = step(d->find_name);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        (void) snprintf(ret_id, VM_ID_MAX, "%s", (const char *) sqlite3_column_text(d->find_name, 0));
        (void) sqlite3_reset(d->find_name);
        return 0;
}

static int compare_points(const void *a, const void *b) {
        const Point *x = a, *y = b;

        return x->time < y->time ? -1 : x->time > y->time;
}

int points_merge(Points *p) {
        size_t n = 0;

        if (p->n > 0)
                qsort(p->points, p->n, sizeof(Point), compare_points);
        for (size_t i = 0; i < p->n; i++)
                if (n > 0 && p->points[n - 1].time == p->points[i].time)
                        usage_add(&p->points[n - 1].usage, &p->points[i].usage);
                else
                        p->points[n++] = p->points[i];
        p->n = n;
        return n > POINTS_MAX ? -E2BIG : 0;
}

/* All VMs of other are known then. */
static int copy_vms(Database *d, Database *other) {
        sqlite3_stmt *s = NULL;
        int r;

        r = prepare(other, &s, "SELECT id, name, seen FROM vms");
        while (r >= 0 && (r = step(s)) > 0) {
                uint64_t seen = column(s, 2);
                int64_t key;

                r = find_or_add_key(d, (const char *) sqlite3_column_text(s, 0), (const char *) sqlite3_column_text(s, 1), seen, &key);
                if (r < 0)
                        break;
                bind(d->see_vm, 1, seen);
                (void) sqlite3_bind_int64(d->see_vm, 2, key);
                r = step(d->see_vm);
        }
        (void) sqlite3_finalize(s);
        return r;
}

/* A coarse row that is there already, of the same VM, covers another part of the same time. */
static int merge_usage(Database *d, Tier t, uint64_t time, int64_t key, Usage *usage) {
        sqlite3_stmt *s = d->seek[t];
        Usage sum;
        int r;

        bind(s, 1, time);
        (void) sqlite3_bind_int64(s, 2, key);
        r = step(s);
        if (r <= 0)
                return r;
        if (column(s, 0) == time && sqlite3_column_int64(s, 1) == key) {
                read_usage(s, &sum);
                usage_add(&sum, usage);
                *usage = sum;
        }
        (void) sqlite3_reset(s);
        return 0;
}

/* The row that s is at. */
static int copy_row(Database *d, Tier t, sqlite3_stmt *s) {
        uint64_t time = column(s, 0);
        Usage usage;
        int64_t key;
        int r;

        r = find_key(d, (const char *) sqlite3_column_text(s, 3 + _METRIC_MAX), NULL, &key);
        if (r <= 0) /* one that is forgotten already */
                return r;
        read_usage(s, &usage);
        if (usage.span == 0)
                return 0;
        if (t > TIER_FINE)
                r = merge_usage(d, t, time, key, &usage);
        return r < 0 ? r : insert_usage(d, t, time, key, &usage);
}

static int copy_tier(Database *d, Database *other, Tier t) {
        _cleanup_free_ char *names = for_columns(column_names);
        sqlite3_stmt *s = NULL;
        int r;

        if (!names)
                return -ENOMEM;
        r = prepare(other, &s, "SELECT time, vm, span%s, vms.id FROM %s CROSS JOIN vms WHERE vms.key = vm ORDER BY time, vm", names,
                    tiers[t].table);
        while (r >= 0 && (r = step(s)) > 0)
                r = copy_row(d, t, s);
        (void) sqlite3_finalize(s);
        return r;
}

/* As far as other is rolled up, of what d has of its own: the rows of other are added to that. */
static int roll_up_own(Database *d, const Database *other) {
        int r = 0;

        for (Tier t = 1; r >= 0 && t < _TIER_MAX; t++) {
                uint64_t from;

                r = find_rolled(d, t, other->rolled[t], &from);
                if (r >= 0 && from < other->rolled[t])
                        r = roll(d, t, from, other->rolled[t]);
        }
        return r;
}

/* A table speaks for all the time since its oldest row. Where other has roll-ups of a time of which it does not have what they were made
 * of any more, d does not need what it has from before that either, which is rolled up as well. */
static int close_hole(Database *d, Database *other, Tier t) {
        uint64_t oldest = UINT64_MAX, coarse;
        int r;

        r = get_value(other->oldest[t], &oldest);
        if (r >= 0)
                r = get_value(other->oldest[t + 1], &coarse);
        if (r <= 0 || coarse >= oldest - oldest % tiers[t + 1].step)
                return MIN2(r, 0);
        return delete_between(d, t, 0, MIN2(oldest, other->rolled[t + 1]));
}

static int copy_all(Database *d, Database *other) {
        int r;

        r = step(d->begin);
        if (r >= 0)
                r = roll_up_own(d, other);
        for (Tier t = 0; r >= 0 && t + 1 < _TIER_MAX; t++)
                r = close_hole(d, other, t);
        if (r >= 0)
                r = copy_vms(d, other);
        for (Tier t = 0; r >= 0 && t < _TIER_MAX; t++)
                r = copy_tier(d, other, t);
        if (r >= 0)
                r = shrink(d, other->last, other->rolled);
        return r < 0 ? r : step(d->commit);
}

int database_copy(Database *d, Database *other) {
        int r;

        if (other->last == 0)
                return 0;
        r = copy_all(d, other);
        if (r < 0) {
                take_back(d);
                return r;
        }
        memcpy(d->rolled, other->rolled, sizeof(d->rolled));
        d->last = other->last;
        return 0;
}
