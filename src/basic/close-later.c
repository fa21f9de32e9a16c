/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/close-later.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

/* The waits overlap: as many threads as there is something to close, up to this. */
#define CLOSERS_MAX 8u
#define CLOSER_STACK (64u * 1024u)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
typedef struct Waiting {
        int fd;
        bool memory;
} Waiting;

static Waiting *waiting;
static size_t n_waiting, allocated_waiting;
static unsigned n_closers;

static bool next(Waiting *ret) {
        bool found;

        (void) pthread_mutex_lock(&lock);
        found = n_waiting > 0;
        if (found)
                *ret = waiting[--n_waiting];
        else
                n_closers--;
        (void) pthread_mutex_unlock(&lock);
        return found;
}

static void close_now(Waiting w) {
        struct stat st;

        if (w.memory && fstat(w.fd, &st) >= 0)
                (void) fallocate(w.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size);
        safe_close(w.fd);
}

static void *closer(void *userdata) {
        Waiting w;

        while (next(&w))
                close_now(w);
        return NULL;
}

static int start_closer(void) {
        sigset_t all, before;
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return -r;
        (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        (void) pthread_attr_setstacksize(&attr, CLOSER_STACK);
        /* Signals are for the loop. */
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, &attr, closer, NULL);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        (void) pthread_attr_destroy(&attr);
        return -r;
}

static bool hand_over(Waiting w) {
        bool taken = false;

        (void) pthread_mutex_lock(&lock);
        if (GREEDY_REALLOC(waiting, allocated_waiting, n_waiting + 1)) {
                waiting[n_waiting++] = w;
                taken = true;
                if (n_closers < CLOSERS_MAX) {
                        n_closers++;
                        if (start_closer() < 0 && --n_closers == 0) {
                                n_waiting--;
                                taken = false;
                        }
                }
        }
        (void) pthread_mutex_unlock(&lock);
        return taken;
}

static int later(Waiting w) {
        if (w.fd >= 0 && !hand_over(w))
                close_now(w);
        return -EBADF;
}

int close_later(int fd) {
        return later((Waiting) { .fd = fd });
}

int close_memory_later(int fd) {
        return later((Waiting) { .fd = fd, .memory = true });
}
