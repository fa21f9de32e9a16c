/* SPDX-License-Identifier: Apache-2.0 */

/* Blocks under way, see the header. A ring of slots: [tail, head) are under way, of them [taken, head) wait
 * for a thread; head's is being filled. Threads touch only the slot they took. */

#include "imaged/block-pipeline.h"

#include <pthread.h>
#include <sqfs/error.h>

#include "basic/alloc-util.h"

#define SLOTS_PER_THREAD 4u
#define UNCOMPRESSED (1u << 24)

typedef struct Slot {
        uint8_t *in, *out; /* out: NULL until one is needed */
        uint32_t size, stored, index;
        bool holes, done;
        int error;
        block_written_t written;
        void *token;
} Slot;

typedef struct Worker {
        BlockPipeline *pipeline;
        sqfs_compressor_t *compressor;
        pthread_t thread;
} Worker;

struct BlockPipeline {
        SquashfsFile *file;
        Slot *slots;
        unsigned n_slots;
        uint64_t head, tail; /* of the filling thread alone */

        pthread_mutex_t lock; /* of what follows, and Slot.done */
        pthread_cond_t submitted, done;
        uint64_t n_submitted, n_taken;
        bool stop;

        unsigned n_workers;
        Worker workers[];
};

static bool all_zero(const uint8_t *p, size_t n) {
        return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static void compress(sqfs_compressor_t *c, Slot *s) {
        sqfs_s32 n;

        s->stored = 0;
        s->error = 0;
        if (s->holes && all_zero(s->in, s->size))
                return;
        n = c->do_block(c, s->in, s->size, s->out, SQUASHFS_BLOCK_SIZE);
        if (n < 0)
                s->error = n;
        else
                s->stored = n > 0 ? (uint32_t) n : s->size | UNCOMPRESSED;
}

static void *work(void *userdata) {
        Worker *w = userdata;
        BlockPipeline *p = w->pipeline;

        pthread_mutex_lock(&p->lock);
        for (;;) {
                Slot *s;

                while (!p->stop && p->n_taken == p->n_submitted)
                        pthread_cond_wait(&p->submitted, &p->lock);
                if (p->stop)
                        break;
                s = &p->slots[p->n_taken++ % p->n_slots];
                pthread_mutex_unlock(&p->lock);
                compress(w->compressor, s);
                pthread_mutex_lock(&p->lock);
                s->done = true;
                pthread_cond_signal(&p->done);
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

static int slots_new(BlockPipeline *p) {
        p->slots = new0(Slot, p->n_slots);
        for (unsigned i = 0; p->slots && i < p->n_slots; i++) {
                p->slots[i].in = malloc(SQUASHFS_BLOCK_SIZE);
                p->slots[i].out = malloc(SQUASHFS_BLOCK_SIZE);
                if (!p->slots[i].in || !p->slots[i].out)
                        return SQFS_ERROR_ALLOC;
        }
        return p->slots ? 0 : SQFS_ERROR_ALLOC;
}

static int worker_start(BlockPipeline *p, const sqfs_compressor_t *compressor) {
        Worker *w = &p->workers[p->n_workers];

        w->pipeline = p;
        w->compressor = sqfs_copy(compressor);
        if (!w->compressor)
                return SQFS_ERROR_ALLOC;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
                sqfs_destroy(w->compressor);
                return SQFS_ERROR_ALLOC;
        }
        p->n_workers++;
        return 0;
}

int block_pipeline_new(SquashfsFile *file, const sqfs_compressor_t *compressor, unsigned n_threads,
                BlockPipeline **ret) {
        _cleanup_(block_pipeline_freep) BlockPipeline *p = NULL;
        int r;

        p = calloc(1, sizeof(BlockPipeline) + n_threads * sizeof(Worker));
        if (!p)
                return SQFS_ERROR_ALLOC;
        p->file = file;
        p->n_slots = n_threads * SLOTS_PER_THREAD + 1;
        (void) pthread_mutex_init(&p->lock, NULL);
        (void) pthread_cond_init(&p->submitted, NULL);
        (void) pthread_cond_init(&p->done, NULL);
        r = slots_new(p);
        while (!r && p->n_workers < n_threads)
                r = worker_start(p, compressor);
        if (!r)
                *ret = TAKE_PTR(p);
        return r;
}

BlockPipeline *block_pipeline_free(BlockPipeline *p) {
        if (!p)
                return NULL;
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_broadcast(&p->submitted);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->n_workers; i++) {
                pthread_join(p->workers[i].thread, NULL);
                sqfs_destroy(p->workers[i].compressor);
        }
        for (unsigned i = 0; p->slots && i < p->n_slots; i++) {
                free(p->slots[i].in);
                free(p->slots[i].out);
        }
        pthread_cond_destroy(&p->submitted);
        pthread_cond_destroy(&p->done);
        pthread_mutex_destroy(&p->lock);
        free(p->slots);
        return mfree(p);
}

uint8_t *block_pipeline_buffer(BlockPipeline *p) {
        return p->slots[p->head % p->n_slots].in;
}

void block_pipeline_swap_buffer(BlockPipeline *p, uint8_t **buffer) {
        Slot *s = &p->slots[p->head % p->n_slots];
        uint8_t *in = s->in;

        s->in = *buffer;
        *buffer = in;
}

/* Is the oldest one compressed? Waits for it, if asked to. */
static bool oldest_is_done(BlockPipeline *p, bool wait) {
        Slot *s = &p->slots[p->tail % p->n_slots];
        bool done;

        pthread_mutex_lock(&p->lock);
        while (wait && !s->done)
                pthread_cond_wait(&p->done, &p->lock);
        done = s->done;
        pthread_mutex_unlock(&p->lock);
        return done;
}

static int write_oldest(BlockPipeline *p) {
        Slot *s = &p->slots[p->tail++ % p->n_slots];
        uint64_t location = p->file->size;
        int r;

        if (s->error)
                return s->error;
        r = squashfs_file_append(
                        p->file, s->stored & UNCOMPRESSED ? s->in : s->out, s->stored & ~UNCOMPRESSED);
        if (!r)
                s->written(s->token, s->index, location, s->stored, s->size);
        return r;
}

int block_pipeline_submit(BlockPipeline *p, uint32_t size, bool holes, block_written_t written, void *token,
                uint32_t index) {
        Slot *s = &p->slots[p->head++ % p->n_slots];
        int r = 0;

        s->size = size;
        s->holes = holes;
        s->done = false;
        s->written = written;
        s->token = token;
        s->index = index;
        pthread_mutex_lock(&p->lock);
        p->n_submitted++;
        pthread_cond_signal(&p->submitted);
        pthread_mutex_unlock(&p->lock);
        /* One must be free for the next. */
        while (!r && p->tail < p->head && oldest_is_done(p, p->head - p->tail == p->n_slots))
                r = write_oldest(p);
        return r;
}

int block_pipeline_flush(BlockPipeline *p) {
        int r = 0;

        while (!r && p->tail < p->head && oldest_is_done(p, true))
                r = write_oldest(p);
        return r;
}
