/* SPDX-License-Identifier: Apache-2.0 */

/* What is sent to a guest, and what it answers: the same for every way to it. */

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"
#include "bench.h"

#define TIMEOUT_SEC 60
#define CONNECT_USEC (10 * USEC_PER_SEC)
#define CHUNK 65536u
/* Until both ends have forgotten the connection: what comes of it later would wake the guest. */
#define CLOSED_USEC 300000

static char chunk[CHUNK];

struct sockaddr_in6 vm_address(Client *c, const char *vm) {
        struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(HTTP_PORT) };
        _cleanup_free_ char *text = NULL;

        if (vm_get_string(c, vm, "MyceliumIP", &text) >= 0)
                (void) inet_pton(AF_INET6, text, &a.sin6_addr);
        return a;
}

static int open_socket(int type, int protocol) {
        const struct timeval timeout = { .tv_sec = TIMEOUT_SEC };
        int fd;

        fd = socket(AF_INET6, type | SOCK_CLOEXEC, protocol);
        if (fd < 0)
                return complain(-errno, "cannot make a socket");
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        return fd;
}

static int connect_to(const struct sockaddr_in6 *a, int fd) {
        return connect(fd, (const struct sockaddr *) a, sizeof(*a)) < 0 ? -errno : 0;
}

/* Connects, asks, and reads the first byte of the answer. */
int first_byte(const struct sockaddr_in6 *a, const char *name, uint64_t *ret_usec) {
        static const char request[] = "GET / HTTP/1.0\r\n\r\n";
        uint64_t start = now_usec(CLOCK_MONOTONIC), usec;
        _cleanup_close_ int fd = open_socket(SOCK_STREAM, 0);
        char byte;
        int r;

        r = fd < 0 ? fd : connect_to(a, fd);
        if (r < 0 || write(fd, request, sizeof(request) - 1) < 0 || read(fd, &byte, 1) != 1)
                return complain(r < 0 ? r : -errno, "no answer from the guest");
        usec = now_usec(CLOCK_MONOTONIC) - start;
        while (read(fd, chunk, sizeof(chunk)) > 0)
                ;
        fd = safe_close(fd);
        (void) usleep(CLOSED_USEC);
        if (name)
                report(name, usec);
        if (ret_usec)
                *ret_usec = usec;
        return 0;
}

/* The time from the first byte to the last. */
int download(const struct sockaddr_in6 *a, const char *name, uint64_t *ret_bytes) {
        static const char request[] = "GET /big HTTP/1.0\r\n\r\n";
        _cleanup_close_ int fd = open_socket(SOCK_STREAM, 0);
        uint64_t start, sum = 0;
        ssize_t n;
        int r;

        r = fd < 0 ? fd : connect_to(a, fd);
        if (r < 0 || write(fd, request, sizeof(request) - 1) < 0)
                return complain(r < 0 ? r : -errno, "%s", name);
        n = read(fd, chunk, 1);
        start = now_usec(CLOCK_MONOTONIC);
        for (; n > 0; n = read(fd, chunk, sizeof(chunk)))
                sum += (uint64_t) n;
        if (n < 0)
                return complain(-errno, "%s", name);
        report(name, now_usec(CLOCK_MONOTONIC) - start);
        if (ret_bytes)
                *ret_bytes = sum;
        return 0;
}

/* Whoever takes it may be between one connection and the next. */
static int connect_patiently(const struct sockaddr_in6 *a) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + CONNECT_USEC;

        for (;;) {
                int fd = open_socket(SOCK_STREAM, 0), r;

                r = fd < 0 ? fd : connect_to(a, fd);
                if (r >= 0)
                        return fd;
                safe_close(fd);
                if (r != -ECONNREFUSED || now_usec(CLOCK_MONOTONIC) > until)
                        return r;
                (void) usleep(20000);
        }
}

/* Until the other end has acknowledged all of it. */
int upload(const struct sockaddr_in6 *a, const char *name, uint64_t bytes) {
        struct sockaddr_in6 sink = *a;
        _cleanup_close_ int fd = -EBADF;
        uint64_t start;
        int left = 1;

        sink.sin6_port = htons(SINK_PORT);
        fd = connect_patiently(&sink);
        if (fd < 0)
                return complain(fd, "%s", name);
        start = now_usec(CLOCK_MONOTONIC);
        for (uint64_t sum = 0; sum < bytes;) {
                ssize_t n = write(fd, chunk, MIN2(sizeof(chunk), bytes - sum));

                if (n <= 0)
                        return complain(-errno, "%s", name);
                sum += (uint64_t) n;
        }
        while (ioctl(fd, SIOCOUTQ, &left) >= 0 && left > 0 && now_usec(CLOCK_MONOTONIC) - start < TIMEOUT_SEC * USEC_PER_SEC)
                (void) usleep(100);
        report(name, now_usec(CLOCK_MONOTONIC) - start);
        return 0;
}

static int echo(int fd, uint16_t sequence) {
        struct icmp6_hdr h = { .icmp6_type = ICMP6_ECHO_REQUEST }, answer;
        uint16_t id = (uint16_t) getpid();

        h.icmp6_id = id;
        h.icmp6_seq = sequence;
        if (send(fd, &h, sizeof(h), 0) < 0)
                return -errno;
        do
                if (recv(fd, &answer, sizeof(answer), 0) < (ssize_t) sizeof(answer))
                        return -errno;
        while (answer.icmp6_type != ICMP6_ECHO_REPLY || answer.icmp6_id != id || answer.icmp6_seq != sequence);
        return 0;
}

int echoes(const struct sockaddr_in6 *a, const char *name, unsigned count) {
        _cleanup_close_ int fd = open_socket(SOCK_RAW, IPPROTO_ICMPV6);
        struct sockaddr_in6 to = *a;
        int r;

        to.sin6_port = 0;
        r = fd < 0 ? fd : connect_to(&to, fd);
        for (unsigned i = 0; r >= 0 && i < count; i++) {
                uint64_t start = now_usec(CLOCK_MONOTONIC);

                r = echo(fd, (uint16_t) i);
                if (r >= 0 && i > 0) /* the first one found the way */
                        report(name, now_usec(CLOCK_MONOTONIC) - start);
        }
        return r < 0 ? complain(r, "%s", name) : 0;
}

static int listen_on(uint16_t port) {
        struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

        if (fd >= 0)
                (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (fd < 0 || bind(fd, (struct sockaddr *) &a, sizeof(a)) < 0 || listen(fd, 8) < 0)
                return complain(-errno, "cannot listen");
        return fd;
}

static void serve_one(int fd, bool http, uint64_t bytes) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (http)
                for (uint64_t sum = 0; n > 0 && sum < bytes; sum += (uint64_t) n)
                        n = write(fd, chunk, MIN2(sizeof(chunk), bytes - sum));
        else
                while (n > 0)
                        n = read(fd, chunk, sizeof(chunk));
}

int serve(uint64_t bytes) {
        struct pollfd p[2] = { { listen_on(HTTP_PORT), POLLIN, 0 }, { listen_on(SINK_PORT), POLLIN, 0 } };

        while (p[0].fd >= 0 && p[1].fd >= 0 && poll(p, 2, -1) > 0)
                for (int i = 0; i < 2; i++)
                        if (p[i].revents) {
                                int fd = accept(p[i].fd, NULL, NULL);

                                if (fd >= 0)
                                        serve_one(fd, i == 0, bytes);
                                safe_close(fd);
                        }
        return -EIO;
}
