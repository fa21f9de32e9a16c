/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/history.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/log.h"

#define PASSES_MAX 16u
#define QUERIES_MAX 64u
#define MEMORY_SPACE_MAX (UINT64_C(32) << 20)
#define RETRY_USEC (30 * USEC_PER_SEC)
#define FILE_NAME "history.db"

/* A pass to be written, or a question. */
typedef struct Work {
        TAILQ_ENTRY(Work) works;
        Pass *pass;
        char *vm;
        uint64_t from, to;
        Points points;
        int result;
        history_done_t done;
        void *userdata;
} Work;

typedef TAILQ_HEAD(Works, Work) Works;

struct History {
        sd_event_source *answered;
        int fd;
        bool has_thread;
        pthread_t thread;

        pthread_mutex_t lock;
        pthread_cond_t wake;
        Works queue, answers; /* under the lock, with the numbers */
        unsigned n_passes, n_queries;
        uint64_t dropped;
        bool stop;

        /* the thread's own */
        char *path;
        uint64_t space_max;
        Database *disk, *memory; /* memory: only while there is no writing to the disk */
        uint64_t retry;
};

static Work *work_free(Work *w) {
        if (!w)
                return NULL;
        pass_free(w->pass);
        free(w->vm);
        points_done(&w->points);
        return mfree(w);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Work *, work_free);

/* One is kept, to be looked at; without its log, which would not be its own the next time. */
static void put_aside(const History *h) {
        static const char *const logs[] = { "-wal", "-shm" };
        _cleanup_free_ char *aside = strprintf("%s.broken", h->path);

        if (aside && rename(h->path, aside) < 0)
                log_warning_errno(errno, "Failed to put %s aside: %m", h->path);
        for (size_t i = 0; i < ELEMENTSOF(logs); i++) {
                _cleanup_free_ char *path = strprintf("%s%s", h->path, logs[i]);

                if (path)
                        (void) unlink(path);
        }
}

static int open_disk(History *h) {
        int r;

        r = database_open(h->path, h->space_max, &h->disk);
        if (r != -EUCLEAN)
                return r;
        log_warning("The history in %s is broken. It is put aside as %s.broken, a new one is begun.", h->path, h->path);
        put_aside(h);
        return database_open(h->path, h->space_max, &h->disk);
}

static int open_memory(History *h) {
        int r;

        if (h->memory)
                return 0;
        r = database_open(NULL, MEMORY_SPACE_MAX, &h->memory);
        return r < 0 ? log_error_errno(r, "Failed to keep history in memory: %m") : 0;
}

/* From the disk to memory. What is on the disk can still be read, unless it is broken. */
static void leave_disk(History *h, int error) {
        if (error == -EUCLEAN) {
                log_warning("The history in %s is broken. It is put aside as %s.broken, a new one is begun.", h->path, h->path);
                h->disk = database_free(h->disk);
                put_aside(h);
        } else if (!h->memory)
                log_warning_errno(error, "Failed to write to %s, going on in memory: %m", h->path);
        if (open_memory(h) >= 0)
                h->retry = now_usec(CLOCK_BOOTTIME) + (error == -EUCLEAN ? 0 : RETRY_USEC);
}

static bool is_away_from_disk(const History *h) {
        return h->path && (!h->disk || h->memory);
}

/* Back to it, when it takes what came meanwhile. */
static void return_to_disk(History *h) {
        int r = 0;

        if (!h->disk)
                r = open_disk(h);
        if (r >= 0 && h->memory)
                r = database_copy(h->disk, h->memory);
        if (r >= 0) {
                h->memory = database_free(h->memory);
                log_info("History is on the disk again.");
                return;
        }
        leave_disk(h, r);
}

static void write_pass(History *h, const Pass *pass) {
        int r;

        if (is_away_from_disk(h) && now_usec(CLOCK_BOOTTIME) >= h->retry)
                return_to_disk(h);
        if (h->disk && !h->memory) {
                r = database_write(h->disk, pass);
                if (r >= 0)
                        return;
                leave_disk(h, r);
        }
        r = h->memory ? database_write(h->memory, pass) : 0;
        if (r < 0)
                log_warning_errno(r, "Failed to keep history in memory: %m");
}

static int find_vm(History *h, const char *text, char ret_id[static VM_ID_MAX]) {
        int r = -ENOENT;

        if (h->memory)
                r = database_find(h->memory, text, ret_id);
        if (r < 0 && h->disk)
                r = database_find(h->disk, text, ret_id);
        return r;
}

static int answer(History *h, Work *w) {
        int r;

        r = find_vm(h, w->vm, w->points.id);
        if (r >= 0 && h->disk)
                r = database_query(h->disk, w->from, w->to, &w->points);
        if (r == -EUCLEAN) {
                leave_disk(h, r); /* found by reading what is never written again */
                r = 0;
        }
        if (r >= 0 && h->memory)
                r = database_query(h->memory, w->from, w->to, &w->points);
        return r < 0 ? r : points_merge(&w->points);
}

static void work(History *h, Work *w) {
        if (w->pass) {
                write_pass(h, w->pass);
                work_free(w);
                return;
        }
        w->result = answer(h, w);
        pthread_mutex_lock(&h->lock);
        TAILQ_INSERT_TAIL(&h->answers, w, works);
        pthread_mutex_unlock(&h->lock);
        (void) eventfd_write(h->fd, 1);
}

/* NULL: it is the end. */
static Work *next_work(History *h) {
        Work *w;

        pthread_mutex_lock(&h->lock);
        while (!(w = TAILQ_FIRST(&h->queue)) && !h->stop)
                pthread_cond_wait(&h->wake, &h->lock);
        if (w) {
                TAILQ_REMOVE(&h->queue, w, works);
                h->n_passes -= !!w->pass;
        }
        pthread_mutex_unlock(&h->lock);
        return w;
}

static void *thread(void *userdata) {
        History *h = userdata;
        Work *w;
        int r;

        r = h->path ? open_disk(h) : 0;
        if (r < 0)
                log_error_errno(r, "Failed to open %s, history is in memory for now: %m", h->path);
        if (!h->disk && open_memory(h) >= 0)
                h->retry = now_usec(CLOCK_BOOTTIME) + RETRY_USEC;
        while ((w = next_work(h)))
                work(h, w);
        if (is_away_from_disk(h)) /* the last chance of what is in memory */
                return_to_disk(h);
        h->memory = database_free(h->memory);
        h->disk = database_free(h->disk);
        return NULL;
}

static int on_answered(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        History *h = userdata;
        eventfd_t value;
        Work *w;

        (void) eventfd_read(fd, &value);
        for (;;) {
                pthread_mutex_lock(&h->lock);
                w = TAILQ_FIRST(&h->answers);
                if (w) {
                        TAILQ_REMOVE(&h->answers, w, works);
                        h->n_queries--;
                }
                pthread_mutex_unlock(&h->lock);
                if (!w)
                        return 0;
                w->done(w->result, w->result < 0 ? NULL : &w->points, w->userdata);
                work_free(w);
        }
}

int history_new(sd_event *event, const char *directory, uint64_t space_max, History **ret) {
        _cleanup_(history_freep) History *h = NULL;
        int r;

        h = new0(History, 1);
        if (!h)
                return -ENOMEM;
        TAILQ_INIT(&h->queue);
        TAILQ_INIT(&h->answers);
        (void) pthread_mutex_init(&h->lock, NULL);
        (void) pthread_cond_init(&h->wake, NULL);
        h->space_max = space_max;
        h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (h->fd < 0)
                return negative_errno();
        if (directory) {
                h->path = strprintf("%s/" FILE_NAME, directory);
                if (!h->path)
                        return -ENOMEM;
        }
        r = sd_event_add_io(event, &h->answered, h->fd, EPOLLIN, on_answered, h);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(h->answered, "history");
        r = pthread_create(&h->thread, NULL, thread, h);
        if (r != 0)
                return -r;
        h->has_thread = true;
        *ret = TAKE_PTR(h);
        return 0;
}

static void free_works(Works *l) {
        for (Work *w; (w = TAILQ_FIRST(l));) {
                TAILQ_REMOVE(l, w, works);
                if (w->done)
                        w->done(-ECANCELED, NULL, w->userdata);
                work_free(w);
        }
}

History *history_free(History *h) {
        if (!h)
                return NULL;
        if (h->has_thread) {
                pthread_mutex_lock(&h->lock);
                h->stop = true;
                pthread_cond_signal(&h->wake);
                pthread_mutex_unlock(&h->lock);
                (void) pthread_join(h->thread, NULL);
        }
        free_works(&h->queue);
        free_works(&h->answers);
        sd_event_source_disable_unref(h->answered);
        safe_close(h->fd);
        (void) pthread_cond_destroy(&h->wake);
        (void) pthread_mutex_destroy(&h->lock);
        free(h->path);
        return mfree(h);
}

/* Under the lock. */
static void drop_oldest_pass(History *h) {
        Work *w;

        TAILQ_FOREACH(w, &h->queue, works)
                if (w->pass)
                        break;
        TAILQ_REMOVE(&h->queue, w, works);
        h->n_passes--;
        h->dropped++;
        work_free(w);
}

void history_write(History *h, Pass *pass) {
        Work *w = new0(Work, 1);

        if (!w) {
                pass_free(pass);
                return;
        }
        w->pass = pass;
        pthread_mutex_lock(&h->lock);
        if (h->n_passes >= PASSES_MAX)
                drop_oldest_pass(h);
        TAILQ_INSERT_TAIL(&h->queue, w, works);
        h->n_passes++;
        pthread_cond_signal(&h->wake);
        pthread_mutex_unlock(&h->lock);
}

int history_query(History *h, const char *vm, uint64_t from, uint64_t to, uint64_t step, history_done_t done, void *userdata) {
        _cleanup_(work_freep) Work *w = NULL;
        int r = 0;

        w = new0(Work, 1);
        if (!w)
                return -ENOMEM;
        w->vm = strdup(vm);
        if (!w->vm)
                return -ENOMEM;
        w->from = from;
        w->to = to;
        w->points.step = step;
        w->done = done;
        w->userdata = userdata;
        pthread_mutex_lock(&h->lock);
        if (h->n_queries >= QUERIES_MAX)
                r = -EBUSY;
        else {
                h->n_queries++;
                TAILQ_INSERT_TAIL(&h->queue, w, works);
                pthread_cond_signal(&h->wake);
                TAKE_PTR(w);
        }
        pthread_mutex_unlock(&h->lock);
        return r;
}

uint64_t history_dropped(const History *h) {
        return h->dropped;
}
