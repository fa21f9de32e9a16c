/* SPDX-License-Identifier: Apache-2.0 */

/* hero-mycelium: asks the host's mycelium daemon for its subnet, once. Exit status 0: the subnet is on stdout; else an errno,
 * and why in words on stdout.
 *
 *     hero-mycelium URL MILLISECONDS
 *
 * A process of its own: who answers may be anybody who has the port, and what parses his HTTP need neither be root nor
 * hero-computed; and libcurl comes with some twenty libraries, for one question a minute. */

#include <cap-ng.h>
#include <curl/curl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "network/mycelium.h"

#define NOBODY 65534

/* An answer has about 200 bytes. */
#define BODY_MAX (16u << 10)
#define HEADERS_MAX (16u << 10)

#define CPU_SECONDS_MAX 5u
#define MEMORY_MAX (UINT64_C(256) << 20) /* address space, most of it libraries */
#define FILES_MAX 64u
#define OUTPUT_MAX (64u << 10) /* stdout is a file, too; more than this is not read */

typedef struct Question {
        CURL *curl;
        struct curl_slist *headers;
        char body[BODY_MAX];
        size_t body_size, headers_size;
        bool too_large;
        char text[CURL_ERROR_SIZE];
} Question;

static int limit(int resource, uint64_t value) {
        struct rlimit l;

        if (getrlimit(resource, &l) < 0)
                return negative_errno();
        l.rlim_cur = l.rlim_max = MIN2((rlim_t) value, l.rlim_max);
        return setrlimit(resource, &l) < 0 ? negative_errno() : 0;
}

static int set_limits(void) {
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
                r = limit(RLIMIT_AS, MEMORY_MAX);
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
        /* The bounding set can only be lowered with a capability: without one there is nothing to bound. */
        return capng_apply(CAPNG_SELECT_BOTH) < 0 && capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

static int shut_in(void) {
        int r;

        if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
                return negative_errno();
        r = give_up_privileges();
        return r < 0 ? r : set_limits();
}

static size_t on_header(char *p, size_t size, size_t n, void *userdata) {
        Question *q = userdata;

        if (size * n > HEADERS_MAX - q->headers_size) {
                q->too_large = true;
                return 0; /* ends the transfer */
        }
        q->headers_size += size * n;
        return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *userdata) {
        Question *q = userdata;

        if (size * n > BODY_MAX - q->body_size) {
                q->too_large = true;
                return 0;
        }
        memcpy(q->body + q->body_size, p, size * n);
        q->body_size += size * n;
        return size * n;
}

static bool set_options(Question *q, const char *url, unsigned timeout_msec) {
#define SET(option, value) (curl_easy_setopt(q->curl, option, value) == CURLE_OK)
        return SET(CURLOPT_PROTOCOLS_STR, "http") &&
               SET(CURLOPT_URL, url) &&
               SET(CURLOPT_PROXY, "") && /* whatever the environment says */
               SET(CURLOPT_FOLLOWLOCATION, 0L) &&
               SET(CURLOPT_FORBID_REUSE, 1L) &&
               SET(CURLOPT_NOSIGNAL, 1L) &&
               SET(CURLOPT_TIMEOUT_MS, (long) MAX2(timeout_msec, 1u)) &&
               SET(CURLOPT_HTTPHEADER, q->headers) &&
               SET(CURLOPT_USERAGENT, "hero-compute/" HERO_VERSION) &&
               SET(CURLOPT_HEADERFUNCTION, on_header) &&
               SET(CURLOPT_HEADERDATA, q) &&
               SET(CURLOPT_WRITEFUNCTION, on_body) &&
               SET(CURLOPT_WRITEDATA, q) &&
               SET(CURLOPT_ERRORBUFFER, q->text);
#undef SET
}

static int set_up(Question *q, const char *url, unsigned timeout_msec) {
        /* What TLS needs is left out: it is never used here. */
        if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
                return -ENOMEM;
        q->curl = curl_easy_init();
        q->headers = curl_slist_append(NULL, "Accept: application/json");
        return q->curl && q->headers && set_options(q, url, timeout_msec) ? 0 : -ENOMEM;
}

static int curl_to_errno(const Question *q, CURLcode code) {
        long os = 0;

        if (q->too_large)
                return -E2BIG;
        switch (code) {
        case CURLE_OK:
                return 0;
        case CURLE_OUT_OF_MEMORY:
                return -ENOMEM;
        case CURLE_OPERATION_TIMEDOUT:
                return -ETIMEDOUT;
        case CURLE_COULDNT_CONNECT:
                (void) curl_easy_getinfo(q->curl, CURLINFO_OS_ERRNO, &os);
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

/* These two print what there is to say: the subnet, or why there is none. */
static int read_answer(const Question *q) {
        char text[SUBNET_STRING_MAX];
        long status = 0;
        Subnet subnet;
        int r;

        (void) curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200) {
                printf("The answer has the HTTP status %ld\n", status);
                return -EPROTO;
        }
        r = mycelium_parse(q->body, q->body_size, &subnet);
        puts(r < 0 ? "The answer names no subnet of mycelium" : subnet_format(text, &subnet));
        return r;
}

static int ask(Question *q) {
        CURLcode code = curl_easy_perform(q->curl);
        int r;

        r = curl_to_errno(q, code);
        if (r >= 0)
                return read_answer(q);
        puts(q->too_large ? "The answer is too large" : q->text[0] ? q->text : curl_easy_strerror(code));
        return r;
}

static int run(int argc, char *argv[]) {
        static Question question;
        unsigned timeout_msec;
        int r;

        if (argc != 3 || parse_uint(argv[2], INT32_MAX, &timeout_msec) < 0) {
                printf("%s is started by hero-computed.\n", argv[0]);
                return -EINVAL;
        }
        r = shut_in();
        if (r < 0) {
                printf("hero-mycelium cannot give up its privileges: %s\n", strerror(-r));
                return r;
        }
        r = set_up(&question, argv[1], timeout_msec);
        if (r < 0) {
                puts(strerror(-r));
                return r;
        }
        return ask(&question);
}

int main(int argc, char *argv[]) {
        int r = run(argc, argv);

        /* The kernel clears up faster than libcurl and its libraries. */
        (void) fflush(stdout);
        _exit(-r);
}
