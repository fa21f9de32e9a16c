/* SPDX-License-Identifier: Apache-2.0 */

/* Checksums by another thread, see the header. A ring of jobs: [tail, head) are the thread's. */

#include "imaged/hasher.h"

#include <pthread.h>

#include "basic/alloc-util.h"

#define JOB_SIZE (256u * 1024u)
#define JOBS 6u

typedef struct Job {
        Sha256 *sha256;
        size_t n;
        uint8_t data[JOB_SIZE];
} Job;

struct Hasher {
        pthread_t thread;
        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t submitted, done;
        uint64_t head, tail;
        bool stop;
        Job jobs[JOBS];
};

static void *work(void *userdata) {
        Hasher *h = userdata;

        pthread_mutex_lock(&h->lock);
        for (;;) {
                Job *j;

                while (!h->stop && h->tail == h->head)
                        pthread_cond_wait(&h->submitted, &h->lock);
                if (h->tail == h->head)
                        break;
                j = &h->jobs[h->tail % JOBS];
                pthread_mutex_unlock(&h->lock);
                sha256_write(j->sha256, j->data, j->n);
                pthread_mutex_lock(&h->lock);
                h->tail++;
                pthread_cond_signal(&h->done);
        }
        pthread_mutex_unlock(&h->lock);
        return NULL;
}

int hasher_new(Hasher **ret) {
        Hasher *h;

        h = calloc(1, sizeof(Hasher));
        if (!h)
                return -ENOMEM;
        (void) pthread_mutex_init(&h->lock, NULL);
        (void) pthread_cond_init(&h->submitted, NULL);
        (void) pthread_cond_init(&h->done, NULL);
        if (pthread_create(&h->thread, NULL, work, h) != 0) {
                free(h);
                return -EAGAIN;
        }
        *ret = h;
        return 0;
}

Hasher *hasher_free(Hasher *h) {
        if (!h)
                return NULL;
        pthread_mutex_lock(&h->lock);
        h->stop = true;
        pthread_cond_signal(&h->submitted);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->thread, NULL);
        pthread_cond_destroy(&h->submitted);
        pthread_cond_destroy(&h->done);
        pthread_mutex_destroy(&h->lock);
        return mfree(h);
}

/* Waits until at most n jobs are under way; returns holding the lock. */
static void wait_for(Hasher *h, uint64_t n) {
        pthread_mutex_lock(&h->lock);
        while (h->head - h->tail > n)
                pthread_cond_wait(&h->done, &h->lock);
}

void hasher_write(Hasher *h, Sha256 *s, const void *p, size_t n) {
        const uint8_t *from = p;

        while (n > 0) {
                size_t k = MIN2(n, (size_t) JOB_SIZE);
                Job *j;

                wait_for(h, JOBS - 1);
                pthread_mutex_unlock(&h->lock);
                j = &h->jobs[h->head % JOBS]; /* head is ours alone */
                j->sha256 = s;
                j->n = k;
                memcpy(j->data, from, k);
                pthread_mutex_lock(&h->lock);
                h->head++;
                pthread_cond_signal(&h->submitted);
                pthread_mutex_unlock(&h->lock);
                from += k;
                n -= k;
        }
}

void hasher_sync(Hasher *h) {
        wait_for(h, 0);
        pthread_mutex_unlock(&h->lock);
}
