/* SPDX-License-Identifier: Apache-2.0 */

/* Who asks hero-rpcd, or the floor: so many kept-alive connections to a Unix socket, one request under way on each, the next one sent
 * when its answer is there. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "bench.h"

#define CONNECTIONS_MAX 1024u
#define SAMPLES_MAX (4u << 20)
#define WARM_UP (200 * USEC_PER_MSEC)

static uint64_t now_nsec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

int rpc_connect(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof(a.sun_path))
                return -ENAMETOOLONG;
        strcpy(a.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &a, sizeof(a)) < 0) {
                int r = -errno;

                close(fd);
                return r;
        }
        return fd;
}

char *rpc_request(const char *body) {
        return strprintf("POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                         strlen(body), body);
}

/* How long the answer is that begins here, as far as it is known: 0: its headers are not there yet. */
static ssize_t answer_size(const char *p, size_t n) {
        static const char length[] = "Content-Length:";
        const char *end = memmem(p, n, "\r\n\r\n", 4), *l;

        if (!end)
                return 0;
        l = memmem(p, (size_t) (end - p), length, sizeof(length) - 1);
        if (!startswith(p, "HTTP/1.1 200") || !l)
                return complain(-EBADMSG, "%.*s", (int) MIN2(n, 400u), p);
        return (end - p) + 4 + (ssize_t) strtoul(l + sizeof(length) - 1, NULL, 10);
}

int rpc_ask(int fd, const char *request, char **buf, size_t *allocated, uint64_t *ret_usec) {
        uint64_t begin = now_nsec();
        size_t n = 0;
        ssize_t k, size = 0;

        if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t) strlen(request))
                return complain(-EIO, "send");
        while (size == 0 || n < (size_t) size) {
                if (!GREEDY_REALLOC(*buf, *allocated, n + (1u << 16)))
                        return -ENOMEM;
                k = recv(fd, *buf + n, *allocated - n - 1, 0);
                if (k <= 0)
                        return complain(-EIO, "recv");
                n += (size_t) k;
                (*buf)[n] = 0;
                if (size == 0)
                        size = answer_size(*buf, n);
                if (size < 0)
                        return (int) size;
        }
        *ret_usec = (now_nsec() - begin) / 1000;
        return strstr(*buf, "\"result\":") ? 0 : complain(0, "%.400s", *buf);
}

typedef struct Connection {
        int fd;
        uint64_t begun;
} Connection;

typedef struct Load {
        int loop;
        const char *request;
        size_t size;
        Connection connections[CONNECTIONS_MAX];
        unsigned n;
        uint32_t *samples; /* ns */
        size_t n_samples;
        bool measuring;
} Load;

static int ask(Load *l, Connection *c) {
        c->begun = now_nsec();
        return send(c->fd, l->request, l->size, MSG_NOSIGNAL) == (ssize_t) l->size ? 0 : complain(-EIO, "send");
}

/* Answers are short: one that comes in pieces is an error here. */
static int take(Load *l, Connection *c) {
        char buf[8192];
        ssize_t n, size;

        n = recv(c->fd, buf, sizeof(buf), 0);
        if (n <= 0)
                return complain(-EIO, "recv");
        size = answer_size(buf, (size_t) n);
        if (size != n)
                return complain(-EBADMSG, "an answer of %zi bytes, of which %zi came", size, n);
        if (l->measuring && l->n_samples < SAMPLES_MAX)
                l->samples[l->n_samples++] = (uint32_t) MIN2(now_nsec() - c->begun, UINT32_MAX);
        return ask(l, c);
}

static int run_until(Load *l, uint64_t end) {
        struct epoll_event events[64];
        int r = 0, n;

        while (r >= 0 && now_nsec() < end) {
                n = epoll_wait(l->loop, events, (int) ELEMENTSOF(events), 1000);
                if (n <= 0)
                        return complain(-ETIME, "no answer");
                for (int i = 0; i < n && r >= 0; i++)
                        r = take(l, events[i].data.ptr);
        }
        return r;
}

static int connect_all(Load *l, const char *path, unsigned count) {
        struct epoll_event event = { .events = EPOLLIN };
        int r;

        l->loop = epoll_create1(EPOLL_CLOEXEC);
        for (l->n = 0; l->n < count; l->n++) {
                Connection *c = l->connections + l->n;

                c->fd = rpc_connect(path);
                if (c->fd < 0)
                        return complain(c->fd, "%s", path);
                event.data.ptr = c;
                if (epoll_ctl(l->loop, EPOLL_CTL_ADD, c->fd, &event) < 0)
                        return -errno;
                r = ask(l, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

static void report_part(const char *name, const char *what, uint64_t value) {
        char buf[128];

        snprintf(buf, sizeof(buf), "%s-%s", name, what);
        report(buf, value);
}

static int measure(Load *l, const char *name, uint64_t nsec) {
        uint64_t begin;
        int r;

        r = run_until(l, now_nsec() + WARM_UP * 1000);
        l->measuring = true;
        begin = now_nsec();
        if (r >= 0)
                r = run_until(l, begin + nsec);
        if (r < 0)
                return r;
        nsec = now_nsec() - begin;
        qsort(l->samples, l->n_samples, sizeof(uint32_t), compare);
        report_part(name, "rate", l->n_samples * UINT64_C(1000000000) / nsec);
        report_part(name, "p50-nsec", l->samples[l->n_samples / 2]);
        report_part(name, "p99-nsec", l->samples[l->n_samples * 99 / 100]);
        return 0;
}

int verb_rpc_load(Client *client, char **argv) {
        _cleanup_free_ char *request = rpc_request(argv[1]);
        unsigned count = (unsigned) strtoul(argv[2], NULL, 10);
        static Load l;
        int r;

        l.request = request;
        l.size = strlen(request);
        l.samples = new(uint32_t, SAMPLES_MAX);
        if (!request || !l.samples)
                return -ENOMEM;
        r = connect_all(&l, argv[0], MIN2(count, CONNECTIONS_MAX));
        if (r >= 0)
                r = measure(&l, argv[4], strtoul(argv[3], NULL, 10) * UINT64_C(1000000));
        for (unsigned i = 0; i < l.n; i++)
                close(l.connections[i].fd);
        free(l.samples);
        return r;
}
