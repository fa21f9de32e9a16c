/* SPDX-License-Identifier: Apache-2.0 */

/* What JSON-RPC over HTTP costs with nothing behind it: a bare libmicrohttpd, whose epoll fd another loop watches as hero-rpcd's does,
 * and jansson, which reads the same request and makes the same answer. A program of its own, as hero-rpcd is:
 *
 *     hero-rpc-floor SOCKET */

#include <jansson.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

/* As hero-rpcd's: libmicrohttpd clears what a connection has for every request. */
#define CONNECTION_MEMORY (8u * 1024)

typedef struct Body {
        char *p;
        size_t n;
} Body;

static json_t *model(void) {
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:i, s:i, s:i}, s:s, s:s, s:s, s:s, s:s, s:n}", "id", "a1b2c3d4e5f6", "name",
                         "bench-0", "state", "running", "detail_state", "running", "image", "busybox", "resources", "cpu_count", 1,
                         "memory_mb", 64, "disk_gb", 1, "mycelium_ip", "fd00::a1b2:c3d4", "tap_device", "hc-a1b2c3d4e5f6", "ip_address",
                         "fd00::a1b2:c3d4/64", "created_at", "2026-01-15T10:30:00Z", "started_at", "2026-01-15T10:30:01Z",
                         "stopped_at");
}

static char *answer(const Body *body) {
        json_t *request = json_loadb(body->p, body->n, JSON_REJECT_DUPLICATES, NULL), *result = model(), *v;
        const char *method = json_string_value(json_object_get(request, "method"));
        char *text;

        if (method && streq(method, "vm.list"))
                result = json_pack("[o]", result);
        v = json_pack("{s:s, s:o, s:O?}", "jsonrpc", "2.0", "result", result, "id", json_object_get(request, "id"));
        text = json_dumps(v, JSON_COMPACT);
        json_decref(v);
        json_decref(request);
        return text;
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, const Body *body) {
        struct MHD_Response *response;
        char *text = answer(body);
        enum MHD_Result r;

        response = text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
        if (!response)
                return MHD_NO;
        r = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
        if (r == MHD_YES)
                r = MHD_queue_response(connection, MHD_HTTP_OK, response);
        MHD_destroy_response(response);
        return r;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **request) {
        Body *body = *request;

        if (!body) {
                *request = new0(Body, 1);
                return *request ? MHD_YES : MHD_NO;
        }
        if (*size == 0)
                return send_answer(connection, body);
        body->p = realloc(body->p, body->n + *size);
        if (!body->p)
                return MHD_NO;
        memcpy(body->p + body->n, data, *size);
        body->n += *size;
        *size = 0;
        return MHD_YES;
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code) {
        Body *body = *request;

        if (body)
                free(body->p);
        *request = mfree(body);
}

static int open_socket(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof(a.sun_path))
                return -ENAMETOOLONG;
        strcpy(a.sun_path, path);
        (void) unlink(path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &a, sizeof(a)) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        return fd;
}

int main(int argc, char *argv[]) {
        const union MHD_DaemonInfo *info;
        struct MHD_Daemon *daemon;
        struct epoll_event event = { .events = EPOLLIN };
        int fd, loop;

        (void) signal(SIGPIPE, SIG_IGN);
        fd = argc == 2 ? open_socket(argv[1]) : -EINVAL;
        if (fd < 0) {
                fprintf(stderr, "hero-rpc-floor: %s\n", strerror(-fd));
                return EXIT_FAILURE;
        }
        daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
                                  MHD_OPTION_CONNECTION_LIMIT, 10240u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                  MHD_OPTION_END);
        info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        loop = epoll_create1(EPOLL_CLOEXEC);
        if (!info || loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, info->epoll_fd, &event) < 0) {
                fprintf(stderr, "hero-rpc-floor: cannot start\n");
                return EXIT_FAILURE;
        }
        for (;;) {
                MHD_UNSIGNED_LONG_LONG msec;

                /* As its documentation wants it: what it has left to do, it says by a timeout. */
                (void) epoll_wait(loop, &event, 1, MHD_get_timeout(daemon, &msec) == MHD_YES ? (int) MIN2(msec, 1000u) : -1);
                (void) MHD_run(daemon);
        }
}
