/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/close-later.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

/* The waits overlap: as many threads as there is something to close, up to this. */
#define CLOSERS_MAX 8u
#define CLOSER_STACK (64u * 1024u)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int *waiting;
static size_t n_waiting, allocated_waiting;
static unsigned n_closers;

static int next_fd(void) {
        int fd = -EBADF;

        (void) pthread_mutex_lock(&lock);
        if (n_waiting > 0)
                fd = waiting[--n_waiting];
        else
                n_closers--;
        (void) pthread_mutex_unlock(&lock);
        return fd;
}

static void *closer(void *userdata) {
        int fd;

        while ((fd = next_fd()) >= 0)
                safe_close(fd);
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

static bool hand_over(int fd) {
        bool taken = false;

        (void) pthread_mutex_lock(&lock);
        if (GREEDY_REALLOC(waiting, allocated_waiting, n_waiting + 1)) {
                waiting[n_waiting++] = fd;
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

int close_later(int fd) {
        if (fd >= 0 && !hand_over(fd))
                safe_close(fd);
        return -EBADF;
}
