/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/http-get.h"

#include <arpa/inet.h>
#include <cap-ng.h>
#include <curl/curl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define NOBODY 65534

#define HEADERS_MAX (16u << 10)

#define CPU_SECONDS_MAX 5u
#define FILES_MAX 64u
#define OUTPUT_MAX (64u << 10) /* stdout is a file, too; more than this is not read */

typedef struct Transfer {
        HttpGet *get;
        CURL *curl;
        struct curl_slist *headers;
        size_t headers_size;
        bool too_large;
        char text[CURL_ERROR_SIZE];
} Transfer;

static int limit(int resource, uint64_t value) {
        struct rlimit l;

        if (getrlimit(resource, &l) < 0)
                return negative_errno();
        l.rlim_cur = l.rlim_max = MIN2((rlim_t) value, l.rlim_max);
        return setrlimit(resource, &l) < 0 ? negative_errno() : 0;
}

static int set_limits(_unused_ uint64_t memory_max) {
        int r;

        r = limit(RLIMIT_CORE, 0);
        if (r >= 0)
                r = limit(RLIMIT_CPU, CPU_SECONDS_MAX);
        if (r >= 0)
                r = limit(RLIMIT_NOFILE, FILES_MAX);
        if (r >= 0)
                r = limit(RLIMIT_FSIZE, OUTPUT_MAX);
#ifndef __SANITIZE_ADDRESS__ /* whose shadow memory is terabytes of address space */
        if (r >= 0)
                r = limit(RLIMIT_AS, memory_max);
#endif
        return r;
}

static int become_nobody(void) {
        uid_t real, effective, saved;

        errno = 0;
        if (capng_change_id(NOBODY, NOBODY, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING | CAPNG_CLEAR_AMBIENT) != 0)
                return -(errno ?: EPERM);
        /* Trust, and look: everything behind this rests on it. */
        if (capng_get_caps_process() != 0 || capng_have_capabilities(CAPNG_SELECT_ALL) != CAPNG_NONE ||
            getresuid(&real, &effective, &saved) < 0 || real != NOBODY || effective != NOBODY || saved != NOBODY ||
            getgid() != NOBODY || getegid() != NOBODY || getgroups(0, NULL) != 0)
                return -EPERM;
        return 0;
}

static int give_up_privileges(void) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return negative_errno();
        capng_clear(CAPNG_SELECT_ALL);
        if (geteuid() == 0)
                return become_nobody();
        /* Who has nothing gives nothing up: a service's system call filter may forbid to try. */
        if (capng_get_caps_process() == 0 && capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE)
                return 0;
        capng_clear(CAPNG_SELECT_ALL);
        /* The bounding set can only be lowered with a capability: without that one there is nothing to bound. */
        return capng_apply(CAPNG_SELECT_BOTH) < 0 && capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

int http_get_shut_in(uint64_t memory_max) {
        int r;

        if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
                return negative_errno();
        r = give_up_privileges();
        return r < 0 ? r : set_limits(memory_max);
}

static size_t on_header(char *p, size_t size, size_t n, void *userdata) {
        Transfer *t = userdata;

        if (size * n > HEADERS_MAX - t->headers_size) {
                t->too_large = true;
                return 0; /* ends the transfer */
        }
        t->headers_size += size * n;
        return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *userdata) {
        Transfer *t = userdata;
        HttpGet *g = t->get;

        if (size * n > g->body_max - g->body_size) {
                t->too_large = true;
                return 0;
        }
        memcpy(g->body + g->body_size, p, size * n);
        g->body_size += size * n;
        return size * n;
}

static bool is_loopback(const struct sockaddr *a) {
        struct in6_addr v6;
        struct in_addr v4;

        if (a->sa_family == AF_INET) {
                memcpy(&v4, (const char *) a + offsetof(struct sockaddr_in, sin_addr), sizeof(v4));
                return ntohl(v4.s_addr) >> 24 == 127;
        }
        memcpy(&v6, (const char *) a + offsetof(struct sockaddr_in6, sin6_addr), sizeof(v6));
        return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static curl_socket_t on_open_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *a) {
        const HttpGet *g = userdata;

        if (g->loopback_only && !is_loopback(&a->addr))
                return CURL_SOCKET_BAD;
        return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool set_options(Transfer *t) {
#define SET(option, value) (curl_easy_setopt(t->curl, option, value) == CURLE_OK)
        const HttpGet *g = t->get;

        return SET(CURLOPT_PROTOCOLS_STR, g->https ? "http,https" : "http") &&
               SET(CURLOPT_URL, g->url) &&
               SET(CURLOPT_PROXY, "") && /* whatever the environment says */
               SET(CURLOPT_FOLLOWLOCATION, 0L) &&
               SET(CURLOPT_FORBID_REUSE, 1L) &&
               SET(CURLOPT_NOSIGNAL, 1L) &&
               SET(CURLOPT_TIMEOUT_MS, (long) MAX2(g->timeout_msec, 1u)) &&
               SET(CURLOPT_HTTPHEADER, t->headers) &&
               SET(CURLOPT_USERAGENT, "hero-compute/" HERO_VERSION) &&
               SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket) &&
               SET(CURLOPT_OPENSOCKETDATA, (void *) g) &&
               SET(CURLOPT_HEADERFUNCTION, on_header) &&
               SET(CURLOPT_HEADERDATA, t) &&
               SET(CURLOPT_WRITEFUNCTION, on_body) &&
               SET(CURLOPT_WRITEDATA, t) &&
               SET(CURLOPT_ERRORBUFFER, t->text);
#undef SET
}

static int set_up(Transfer *t) {
        /* What TLS needs is left out where it is never used. */
        if (curl_global_init(t->get->https ? CURL_GLOBAL_SSL : CURL_GLOBAL_NOTHING) != CURLE_OK)
                return -ENOMEM;
        t->curl = curl_easy_init();
        t->headers = curl_slist_append(NULL, "Accept: application/json");
        return t->curl && t->headers && set_options(t) ? 0 : -ENOMEM;
}

static int curl_to_errno(const Transfer *t, CURLcode code) {
        long os = 0;

        if (t->too_large)
                return -E2BIG;
        switch (code) {
        case CURLE_OK:
                return 0;
        case CURLE_OUT_OF_MEMORY:
                return -ENOMEM;
        case CURLE_OPERATION_TIMEDOUT:
                return -ETIMEDOUT;
        case CURLE_COULDNT_CONNECT:
                (void) curl_easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &os);
                return os > 0 ? (int) -os : -ECONNREFUSED;
        case CURLE_COULDNT_RESOLVE_HOST:
                return -EHOSTUNREACH;
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
                return -ECONNRESET;
        default:
                return -EPROTO;
        }
}

static int check_status(Transfer *t) {
        long status = 0;

        (void) curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status == 200)
                return 0;
        (void) snprintf(t->get->why, sizeof(t->get->why), "The answer has the HTTP status %ld", status);
        return -EPROTO;
}

/* Nothing is cleared up: the process ends. */
int http_get(HttpGet *g) {
        static Transfer t;
        CURLcode code;
        int r;

        t = (Transfer) { .get = g };
        g->body_size = 0;
        r = set_up(&t);
        if (r < 0) {
                (void) snprintf(g->why, sizeof(g->why), "%s", strerror(-r));
                return r;
        }
        code = curl_easy_perform(t.curl);
        r = curl_to_errno(&t, code);
        if (r >= 0)
                return check_status(&t);
        (void) snprintf(g->why, sizeof(g->why), "%s",
                        t.too_large ? "The answer is too large" : t.text[0] ? t.text : curl_easy_strerror(code));
        return r;
}
