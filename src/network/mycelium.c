/* SPDX-License-Identifier: Apache-2.0 */

/* The subnet of the host's mycelium daemon, see the header. One transfer at a time, by libcurl's multi interface with
 * its sockets and its timer in the event loop; between transfers there is one timer and no connection. */

#include "network/mycelium.h"

#include <curl/curl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

/* An answer has about 200 bytes. */
#define BODY_MAX (16u << 10)
#define HEADERS_MAX (16u << 10)
#define PAUSE_ACCURACY_USEC (50 * USEC_PER_MSEC)

typedef struct Socket {
        sd_event_source *source;
        LIST_ENTRY(Socket) next;
} Socket;

struct Mycelium {
        sd_event *event;
        MyceliumOptions options;
        char *url;
        const MyceliumEvents *events;
        void *userdata;

        CURLM *multi;
        CURL *transfer; /* NULL: between two */
        struct curl_slist *headers;
        sd_event_source *curl_timer, *pause_timer;
        LIST_HEAD(, Socket) sockets;

        char body[BODY_MAX];
        size_t body_size, headers_size;
        bool too_large;

        Subnet subnet;
        bool known;
        uint64_t pause; /* after the next failure */
        bool again;     /* asked for while a transfer was under way, whose answer may be older than the wish */
        int result;
        char curl_text[CURL_ERROR_SIZE], text[CURL_ERROR_SIZE];
};

static Socket *socket_free(Socket *s) {
        LIST_REMOVE(s, next);
        sd_event_source_disable_unref(s->source);
        free(s);
        return NULL;
}

static void transfer_end(Mycelium *m) {
        if (!m->transfer)
                return;
        (void) curl_multi_remove_handle(m->multi, m->transfer);
        curl_easy_cleanup(m->transfer);
        m->transfer = NULL;
        /* libcurl takes back what it asked for; this is for the case that it does not. */
        while (!LIST_EMPTY(&m->sockets))
                socket_free(LIST_FIRST(&m->sockets));
        (void) sd_event_source_set_enabled(m->curl_timer, SD_EVENT_OFF);
}

Mycelium *mycelium_free(Mycelium *m) {
        if (!m)
                return NULL;
        transfer_end(m);
        if (m->multi)
                (void) curl_multi_cleanup(m->multi);
        curl_slist_free_all(m->headers);
        sd_event_source_disable_unref(m->curl_timer);
        sd_event_source_disable_unref(m->pause_timer);
        sd_event_unref(m->event);
        free(m->url);
        free(m);
        curl_global_cleanup();
        return NULL;
}

static size_t on_header(char *p, size_t size, size_t n, void *userdata) {
        Mycelium *m = userdata;

        if (size * n > HEADERS_MAX - m->headers_size) {
                m->too_large = true;
                return 0; /* ends the transfer */
        }
        m->headers_size += size * n;
        return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *userdata) {
        Mycelium *m = userdata;

        if (size * n > BODY_MAX - m->body_size) {
                m->too_large = true;
                return 0;
        }
        memcpy(m->body + m->body_size, p, size * n);
        m->body_size += size * n;
        return size * n;
}

static int curl_to_errno(Mycelium *m, CURLcode code) {
        long os = 0;

        if (m->too_large)
                return -E2BIG;
        switch (code) {
        case CURLE_OK:
                return 0;
        case CURLE_OUT_OF_MEMORY:
                return -ENOMEM;
        case CURLE_OPERATION_TIMEDOUT:
                return -ETIMEDOUT;
        case CURLE_COULDNT_CONNECT:
                (void) curl_easy_getinfo(m->transfer, CURLINFO_OS_ERRNO, &os);
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

/* The transfer has ended: 0 with the subnet, or -errno with words. */
static int read_answer(Mycelium *m, CURLcode code, Subnet *ret) {
        long status = 0;
        int r;

        r = curl_to_errno(m, code);
        if (r < 0) {
                (void) snprintf(m->text, sizeof(m->text), "%s",
                                m->too_large ? "The answer is too large" :
                                m->curl_text[0] ? m->curl_text : curl_easy_strerror(code));
                (void) utf8_sanitize(m->text);
                return r;
        }
        (void) curl_easy_getinfo(m->transfer, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200) {
                (void) snprintf(m->text, sizeof(m->text), "The answer has the HTTP status %ld", status);
                return -EPROTO;
        }
        r = mycelium_parse(m->body, m->body_size, ret);
        if (r < 0)
                (void) snprintf(m->text, sizeof(m->text), "The answer names no subnet of mycelium");
        return r;
}

static int pause_for(Mycelium *m, uint64_t usec) {
        int r;

        r = sd_event_source_set_time_relative(m->pause_timer, usec);
        return r < 0 ? r : sd_event_source_set_enabled(m->pause_timer, SD_EVENT_ONESHOT);
}

/* Says what has changed, last of all: whoever is called may ask anything. */
static int finish(Mycelium *m, int result, const Subnet *subnet) {
        bool changed = result >= 0 && (!m->known || !subnet_equal(subnet, &m->subnet));
        bool failed = result < 0 && (m->result >= 0 || m->result == -EINPROGRESS);
        uint64_t pause = result < 0 ? m->pause : m->options.refresh_usec;
        int r;

        m->result = result;
        m->pause = result < 0 ? MIN2(m->pause * 2, m->options.retry_max_usec) : m->options.retry_min_usec;
        if (changed) {
                m->subnet = *subnet;
                m->known = true;
        }
        r = pause_for(m, m->again ? 0 : pause);
        if (r < 0)
                return r;
        m->again = false;
        if (changed && m->events->subnet)
                m->events->subnet(m, &m->subnet, m->userdata);
        if (failed && m->events->failed)
                m->events->failed(m, result, m->userdata);
        return 0;
}

static int check_ended(Mycelium *m) {
        Subnet subnet = {};
        CURLMsg *message;
        int left, result;

        do
                message = curl_multi_info_read(m->multi, &left);
        while (message && message->msg != CURLMSG_DONE);
        if (!message)
                return 0;
        m->text[0] = 0;
        result = read_answer(m, message->data.result, &subnet);
        transfer_end(m);
        return finish(m, result, &subnet);
}

static int give_up(Mycelium *m, int error) {
        (void) snprintf(m->text, sizeof(m->text), "%s", strerror(-error));
        transfer_end(m);
        return finish(m, error, NULL);
}

static int act(Mycelium *m, curl_socket_t fd, int what) {
        int running;

        /* Out of memory, or a fault of ours: not the daemon's. The next try is a new transfer. */
        if (curl_multi_socket_action(m->multi, fd, what, &running) != CURLM_OK)
                return give_up(m, -ENOMEM);
        return check_ended(m);
}

static int on_socket_ready(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        int what = 0;

        if (revents & EPOLLIN)
                what |= CURL_CSELECT_IN;
        if (revents & EPOLLOUT)
                what |= CURL_CSELECT_OUT;
        if (revents & (EPOLLERR | EPOLLHUP))
                what |= CURL_CSELECT_ERR;
        return act(userdata, fd, what);
}

static int on_curl_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        return act(userdata, CURL_SOCKET_TIMEOUT, 0);
}

/* libcurl's: it wants to know about a socket, or no longer. */
static int on_socket_wanted(CURL *c, curl_socket_t fd, int what, void *userdata, void *socket_data) {
        uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
        Socket *s = socket_data;
        Mycelium *m = userdata;

        if (what == CURL_POLL_REMOVE) {
                if (s)
                        socket_free(s);
                (void) curl_multi_assign(m->multi, fd, NULL);
                return 0;
        }
        if (s)
                return sd_event_source_set_io_events(s->source, events) < 0 ? -1 : 0;
        s = new0(Socket, 1);
        if (!s)
                return -1;
        LIST_INSERT_HEAD(&m->sockets, s, next);
        if (sd_event_add_io(m->event, &s->source, fd, events, on_socket_ready, m) < 0 ||
            curl_multi_assign(m->multi, fd, s) != CURLM_OK) {
                socket_free(s);
                return -1;
        }
        (void) sd_event_source_set_description(s->source, "mycelium-socket");
        return 0;
}

static int on_timer_wanted(CURLM *c, long msec, void *userdata) {
        Mycelium *m = userdata;

        if (msec < 0)
                return sd_event_source_set_enabled(m->curl_timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        if (sd_event_source_set_time_relative(m->curl_timer, (uint64_t) msec * USEC_PER_MSEC) < 0)
                return -1;
        return sd_event_source_set_enabled(m->curl_timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

static bool set_transfer_options(Mycelium *m, CURL *c) {
#define SET(option, value) (curl_easy_setopt(c, option, value) == CURLE_OK)
        return SET(CURLOPT_PROTOCOLS_STR, "http") &&
               SET(CURLOPT_URL, m->url) &&
               SET(CURLOPT_PROXY, "") && /* whatever the environment says */
               SET(CURLOPT_FOLLOWLOCATION, 0L) &&
               SET(CURLOPT_FORBID_REUSE, 1L) &&
               SET(CURLOPT_NOSIGNAL, 1L) &&
               SET(CURLOPT_TIMEOUT_MS, (long) MAX2(m->options.timeout_usec / USEC_PER_MSEC, UINT64_C(1))) &&
               SET(CURLOPT_HTTPHEADER, m->headers) &&
               SET(CURLOPT_USERAGENT, "hero-compute/" HERO_VERSION) &&
               SET(CURLOPT_HEADERFUNCTION, on_header) &&
               SET(CURLOPT_HEADERDATA, m) &&
               SET(CURLOPT_WRITEFUNCTION, on_body) &&
               SET(CURLOPT_WRITEDATA, m) &&
               SET(CURLOPT_ERRORBUFFER, m->curl_text);
#undef SET
}

static int transfer_start(Mycelium *m) {
        CURL *c = curl_easy_init();

        if (!c)
                return -ENOMEM;
        m->body_size = m->headers_size = 0;
        m->too_large = false;
        m->curl_text[0] = 0;
        if (!set_transfer_options(m, c) || curl_multi_add_handle(m->multi, c) != CURLM_OK) {
                curl_easy_cleanup(c);
                return -ENOMEM;
        }
        m->transfer = c;
        return 0;
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *userdata) {
        Mycelium *m = userdata;
        int r;

        if (m->transfer)
                return 0;
        r = transfer_start(m);
        return r < 0 ? give_up(m, r) : 0;
}

int mycelium_refresh(Mycelium *m) {
        m->pause = m->options.retry_min_usec;
        m->again = m->transfer;
        return m->again ? 0 : pause_for(m, 0);
}

static bool url_is_valid(const char *url) {
        CURLU *u = curl_url();
        char *scheme = NULL;
        bool valid;

        valid = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && streq(scheme, "http");
        curl_free(scheme);
        curl_url_cleanup(u);
        return valid;
}

static int set_up_curl(Mycelium *m) {
        m->headers = curl_slist_append(NULL, "Accept: application/json");
        m->multi = curl_multi_init();
        if (!m->headers || !m->multi)
                return -ENOMEM;
        if (curl_multi_setopt(m->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted) != CURLM_OK ||
            curl_multi_setopt(m->multi, CURLMOPT_SOCKETDATA, m) != CURLM_OK ||
            curl_multi_setopt(m->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted) != CURLM_OK ||
            curl_multi_setopt(m->multi, CURLMOPT_TIMERDATA, m) != CURLM_OK)
                return -ENOMEM;
        return url_is_valid(m->url) ? 0 : -EINVAL;
}

static int set_up_timers(Mycelium *m) {
        int r;

        r = sd_event_add_time_relative(m->event, &m->curl_timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_curl_timer,
                                       m);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(m->curl_timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(m->curl_timer, "mycelium-curl");
        r = sd_event_add_time_relative(m->event, &m->pause_timer, CLOCK_MONOTONIC, 0, PAUSE_ACCURACY_USEC,
                                       on_pause_over, m);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(m->pause_timer, "mycelium-pause");
        return 0;
}

static MyceliumOptions with_defaults(const MyceliumOptions *o) {
        return (MyceliumOptions) {
                .timeout_usec = o->timeout_usec ?: 5 * USEC_PER_SEC,
                .retry_min_usec = o->retry_min_usec ?: 250 * USEC_PER_MSEC,
                .retry_max_usec = o->retry_max_usec ?: 30 * USEC_PER_SEC,
                .refresh_usec = o->refresh_usec ?: 30 * USEC_PER_SEC,
        };
}

int mycelium_new(sd_event *e, const MyceliumOptions *o, const MyceliumEvents *events, void *userdata,
                 Mycelium **ret) {
        _cleanup_(mycelium_freep) Mycelium *m = NULL;
        int r;

        /* What TLS needs is left out: it is never used here. */
        if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
                return -ENOMEM;
        m = new0(Mycelium, 1);
        if (!m) {
                curl_global_cleanup();
                return -ENOMEM;
        }
        m->event = sd_event_ref(e);
        m->options = with_defaults(o);
        m->events = events;
        m->userdata = userdata;
        m->result = -EINPROGRESS;
        m->pause = m->options.retry_min_usec;
        LIST_INIT(&m->sockets);
        m->url = strdup(o->url ?: MYCELIUM_URL);
        if (!m->url)
                return -ENOMEM;
        r = set_up_curl(m);
        if (r < 0)
                return r;
        r = set_up_timers(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

const Subnet *mycelium_subnet(const Mycelium *m) {
        return m->known ? &m->subnet : NULL;
}

int mycelium_result(const Mycelium *m) {
        return m->result;
}

const char *mycelium_error_text(const Mycelium *m) {
        return m->text;
}
