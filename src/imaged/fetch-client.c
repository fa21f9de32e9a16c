/* SPDX-License-Identifier: Apache-2.0 */

/* The connection to hero-image-fetch, see the header. Owned by a pull. */

#include "imaged/fetch-client.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"

struct FetchClient {
        int fd;
        sd_event_source *source;
        fetch_answer_t answer;
        void *userdata;
        bool *freed; /* set while answer() runs */
};

FetchClient *fetch_client_free(FetchClient *c) {
        if (!c)
                return NULL;
        if (c->freed)
                *c->freed = true;
        sd_event_source_disable_unref(c->source);
        safe_close(c->fd);
        return mfree(c);
}

static int on_message(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        char buf[FETCH_MESSAGE_MAX + 1];
        FetchClient *c = userdata;
        FetchAnswer answer = {};
        FetchMessage message;
        int fds[FETCH_FILES_MAX];
        bool freed = false;
        int r;

        r = fetch_receive(fd, buf, &message, fds, &answer.n_fds);
        if (r == -EAGAIN)
                return 0;
        answer.fds = fds;
        if (r > 0)
                answer.message = &message;
        else
                answer.error = r == 0 ? -ECONNRESET : r;
        c->freed = &freed;
        c->answer(&answer, c->userdata);
        close_many(fds, answer.n_fds);
        if (freed)
                return 0;
        c->freed = NULL;
        if (r <= 0) /* there is nothing more to come */
                c->source = sd_event_source_disable_unref(c->source);
        return 0;
}

int fetch_client_new(sd_event *event, fetch_answer_t answer, void *userdata, FetchClient **ret) {
        /* $HERO_FETCH_SOCKET is for tests. */
        const char *path = secure_getenv("HERO_FETCH_SOCKET") ?: FETCH_SOCKET;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_(fetch_client_freep) FetchClient *c = NULL;
        int r;

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);
        c = new(FetchClient, 1);
        if (!c)
                return -ENOMEM;
        *c = (FetchClient) { .fd = -EBADF, .answer = answer, .userdata = userdata };
        c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return negative_errno();
        r = sd_event_add_io(event, &c->source, c->fd, EPOLLIN, on_message, c);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(c->source, "fetch");
        *ret = TAKE_PTR(c);
        return 0;
}

int fetch_client_inspect(FetchClient *c, const char *location) {
        return fetch_send(c->fd, &(FetchMessage) { .type = FETCH_INSPECT, .text = (char *) location }, NULL, 0);
}

int fetch_client_copy(FetchClient *c, uint64_t max_bytes, const char *location) {
        return fetch_send(c->fd, &(FetchMessage) { .type = FETCH_COPY, .bytes = max_bytes, .text = (char *) location },
                        NULL, 0);
}
