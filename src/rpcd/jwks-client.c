/* SPDX-License-Identifier: Apache-2.0 */

/* The connection to hero-jwks-fetch, see the header. */

#include "rpcd/jwks-client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/jwks-protocol.h"

#define PROGRAM "hero-jwks-fetch"
/* It keeps the time limit itself. This is for one that cannot, and for its start on a busy host. */
#define PATIENCE_USEC (5 * USEC_PER_SEC)

struct JwksClient {
        int fd;
        sd_event_source *readable, *timeout;
        jwks_answer_t answer;
        void *userdata;
        size_t size;
        char text[JWKS_ANSWER_MAX + 2]; /* one byte too much is noticed; and a NUL */
};

JwksClient *jwks_client_free(JwksClient *c) {
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->readable);
        sd_event_source_disable_unref(c->timeout);
        safe_close(c->fd);
        return mfree(c);
}

static int finish(JwksClient *client, JwkSet *keys, const char *why) {
        _cleanup_(jwks_client_freep) JwksClient *c = client;

        c->answer(keys, why, c->userdata);
        return 0;
}

/* Who answers has seen what came over the net: nothing is taken over without a look. */
static int read_answer(JwksClient *c) {
        const char *keys = startswith(c->text, JWKS_KEYS), *why = startswith(c->text, JWKS_ERROR);
        JwkSet *set;

        if (why) {
                c->text[MIN2(strcspn(c->text, "\n"), (size_t) JWKS_ERROR_MAX)] = 0;
                (void) utf8_sanitize(c->text);
                return finish(c, NULL, isempty(why) ? PROGRAM " does not say why" : why);
        }
        if (!keys)
                return finish(c, NULL, PROGRAM " ended without an answer");
        if (jwk_set_parse(keys, c->size - strlen(JWKS_KEYS), &set) < 0)
                return finish(c, NULL, PROGRAM " told no keys");
        return finish(c, set, NULL);
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        JwksClient *c = userdata;
        ssize_t n;

        n = recv(fd, c->text + c->size, JWKS_ANSWER_MAX + 1 - c->size, MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : finish(c, NULL, strerror(errno));
        c->size += (size_t) n;
        c->text[c->size] = 0;
        if (c->size > JWKS_ANSWER_MAX)
                return finish(c, NULL, PROGRAM " told too much");
        return n > 0 ? 0 : read_answer(c);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        return finish(userdata, NULL, PROGRAM " took too long");
}

static int connect_to_fetcher(void) {
        /* $HERO_JWKS_SOCKET is for tests. */
        const char *path = secure_getenv("HERO_JWKS_SOCKET") ?: JWKS_SOCKET;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return negative_errno();
        return TAKE_FD(fd);
}

/* A line that short fits into the socket, or the socket is not what it should be. */
static int ask(JwksClient *c, const char *url, uint64_t timeout_usec) {
        _cleanup_free_ char *line = strprintf("%" PRIu64 " %s\n", MAX2(timeout_usec / USEC_PER_MSEC, UINT64_C(1)), url);
        ssize_t n;

        if (!line)
                return -ENOMEM;
        n = send(c->fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
                return negative_errno();
        return (size_t) n == strlen(line) ? 0 : -EIO;
}

int jwks_client_new(sd_event *event, const char *url, uint64_t timeout_usec, jwks_answer_t answer, void *userdata,
                    JwksClient **ret) {
        _cleanup_(jwks_client_freep) JwksClient *c = new(JwksClient, 1);
        int r;

        if (!c)
                return -ENOMEM;
        c->readable = c->timeout = NULL;
        c->answer = answer;
        c->userdata = userdata;
        c->size = 0;
        c->fd = connect_to_fetcher();
        if (c->fd < 0)
                return c->fd;
        r = ask(c, url, timeout_usec);
        if (r >= 0)
                r = sd_event_add_io(event, &c->readable, c->fd, EPOLLIN, on_readable, c);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &c->timeout, CLOCK_MONOTONIC, timeout_usec + PATIENCE_USEC, 0, on_timeout, c);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(c->readable, "jwks-fetch");
        *ret = TAKE_PTR(c);
        return 0;
}
