/* SPDX-License-Identifier: Apache-2.0 */

/* The subnet of the host's mycelium daemon, see the header. One question at a time, each a child, hero-mycelium; between
 * questions there is one timer. */

#include "network/mycelium.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/child.h"
#include "shared/program-path.h"

#define PROGRAM "hero-mycelium"
#define TEXT_MAX 256u
#define PAUSE_ACCURACY_USEC (50 * USEC_PER_MSEC)
/* It keeps the time limit itself. This is for one that cannot, and for its start on a busy host. */
#define PATIENCE_USEC (5 * USEC_PER_SEC)

struct Mycelium {
        sd_event *event;
        MyceliumOptions options;
        char *url;
        const MyceliumEvents *events;
        void *userdata;

        Child *child; /* NULL: between two questions */
        sd_event_source *pause_timer;

        Subnet subnet;
        bool known;
        uint64_t pause; /* after the next failure */
        bool again;     /* asked for while a question was under way, whose answer may be older than the wish */
        int result;
        char text[TEXT_MAX];
};

Mycelium *mycelium_free(Mycelium *m) {
        if (!m)
                return NULL;
        child_free(m->child);
        sd_event_source_disable_unref(m->pause_timer);
        sd_event_unref(m->event);
        free(m->url);
        return mfree(m);
}

/* The child has seen what came over the net: neither its line nor its words are believed without a look. */
static int read_subnet(Mycelium *m, const char *line, Subnet *ret) {
        int r = mycelium_parse_subnet(line, ret);

        if (r < 0)
                (void) snprintf(m->text, sizeof(m->text), PROGRAM " told no subnet of mycelium");
        return r;
}

static int read_error(Mycelium *m, int status, const char *line) {
        if (status == -ETIME) {
                (void) snprintf(m->text, sizeof(m->text), PROGRAM " took too long");
                return -ETIMEDOUT;
        }
        if (status >= 128) {
                (void) snprintf(m->text, sizeof(m->text), PROGRAM " was ended by signal %d", status - 128);
                return -EIO;
        }
        (void) snprintf(m->text, sizeof(m->text), "%s", isempty(line) ? strerror(status) : line);
        (void) utf8_sanitize(m->text);
        return -status;
}

static int read_answer(Mycelium *m, int status, const char *output, Subnet *ret) {
        char line[TEXT_MAX];

        (void) snprintf(line, sizeof(line), "%.*s", (int) strcspn(output, "\n"), output);
        m->text[0] = 0;
        return status == 0 ? read_subnet(m, line, ret) : read_error(m, status, line);
}

static int pause_for(Mycelium *m, uint64_t usec) {
        int r;

        r = sd_event_source_set_time_relative(m->pause_timer, usec);
        return r < 0 ? r : sd_event_source_set_enabled(m->pause_timer, SD_EVENT_ONESHOT);
}

/* Says what has changed, last of all: whoever is called may ask anything. */
static void finish(Mycelium *m, int result, const Subnet *subnet) {
        bool changed = result >= 0 && (!m->known || !subnet_equal(subnet, &m->subnet));
        bool failed = result < 0 && (m->result >= 0 || m->result == -EINPROGRESS);
        uint64_t pause = result < 0 ? m->pause : m->options.refresh_usec;

        m->result = result;
        m->pause = result < 0 ? MIN2(m->pause * 2, m->options.retry_max_usec) : m->options.retry_min_usec;
        if (changed) {
                m->subnet = *subnet;
                m->known = true;
        }
        (void) pause_for(m, m->again ? 0 : pause); /* fails only in a loop that has ended */
        m->again = false;
        if (changed && m->events->subnet)
                m->events->subnet(m, &m->subnet, m->userdata);
        if (failed && m->events->failed)
                m->events->failed(m, result, m->userdata);
}

static void on_answer(int status, const char *output, void *userdata) {
        Subnet subnet = {};
        Mycelium *m = userdata;
        int r;

        m->child = NULL;
        r = read_answer(m, status, output, &subnet);
        finish(m, r, &subnet);
}

static int ask(Mycelium *m) {
        _cleanup_free_ char *program = program_path(PROGRAM), *timeout = NULL;

        timeout = strprintf("%" PRIu64, MAX2(m->options.timeout_usec / USEC_PER_MSEC, UINT64_C(1)));
        if (!program || !timeout)
                return -ENOMEM;
        return child_run(m->event, (char *[]) { program, m->url, timeout, NULL }, -EBADF,
                         m->options.timeout_usec + PATIENCE_USEC, on_answer, m, &m->child);
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *userdata) {
        Mycelium *m = userdata;
        int r;

        if (m->child)
                return 0;
        r = ask(m);
        if (r >= 0)
                return 0;
        (void) snprintf(m->text, sizeof(m->text), PROGRAM " cannot be run: %s", strerror(-r));
        finish(m, r, NULL);
        return 0;
}

int mycelium_refresh(Mycelium *m) {
        m->pause = m->options.retry_min_usec;
        m->again = m->child;
        return m->again ? 0 : pause_for(m, 0);
}

/* Whether there is a host to ask, by HTTP; the rest of the URL is libcurl's. No password: it would be on a command line. */
static int check_url(const char *url) {
        const char *rest = startswith(url, "http://"), *end;
        _cleanup_free_ char *host = NULL;
        unsigned port;

        if (!rest)
                return -EINVAL;
        host = strndup(rest, strcspn(rest, "/?#"));
        if (!host)
                return -ENOMEM;
        end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":");
        if (!end || end == host || strchr(host, '@'))
                return -EINVAL;
        end += *end == ']';
        if (!*end)
                return 0;
        return *end == ':' && parse_uint(end + 1, UINT16_MAX, &port) >= 0 && port > 0 ? 0 : -EINVAL;
}

static int set_up_timer(Mycelium *m) {
        int r;

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
                .retry_max_usec = o->retry_max_usec ?: 60 * USEC_PER_SEC,
                .refresh_usec = o->refresh_usec ?: 60 * USEC_PER_SEC,
        };
}

int mycelium_new(sd_event *e, const MyceliumOptions *o, const MyceliumEvents *events, void *userdata,
                 Mycelium **ret) {
        _cleanup_(mycelium_freep) Mycelium *m = NULL;
        const char *url = o->url ?: MYCELIUM_URL;
        int r;

        r = check_url(url);
        if (r < 0)
                return r;
        m = new0(Mycelium, 1);
        if (!m)
                return -ENOMEM;
        m->event = sd_event_ref(e);
        m->options = with_defaults(o);
        m->events = events;
        m->userdata = userdata;
        m->result = -EINPROGRESS;
        m->pause = m->options.retry_min_usec;
        m->url = strdup(url);
        if (!m->url)
                return -ENOMEM;
        r = set_up_timer(m);
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
