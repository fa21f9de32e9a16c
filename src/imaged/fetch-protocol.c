/* SPDX-License-Identifier: Apache-2.0 */

/* Messages to and from hero-image-fetch, see the header. */

#include "imaged/fetch-protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-pass.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"

static const char *const fetch_error_table[_FETCH_ERROR_MAX] = {
        [FETCH_NO_SUCH_IMAGE] = "no-such-image",
        [FETCH_FAILED] = "failed",
        [FETCH_TOO_LARGE] = "too-large",
        [FETCH_NO_SPACE] = "no-space",
};
DEFINE_STRING_TABLE_LOOKUP(fetch_error, FetchError);

static const char *const types[] = {
        [FETCH_INSPECT] = "inspect", [FETCH_COPY] = "copy",   [FETCH_PROGRESS] = "progress",
        [FETCH_DOCUMENT] = "document", [FETCH_FILES] = "files", [FETCH_ERROR] = "error",
};

/* Cuts the next word out of *p; what remains, if anything, is behind it. */
static char *next_word(char **p) {
        char *word = *p, *end = strchr(word, ' ');

        if (end)
                *end++ = 0;
        *p = end ?: word + strlen(word);
        return word;
}

static int next_number(char **p, uint64_t max, uint64_t *ret) {
        uint64_t n;

        if (parse_uint64(next_word(p), &n) < 0 || n > max)
                return -EBADMSG;
        *ret = n;
        return 0;
}

int fetch_message_parse(char *buf, size_t n, FetchMessage *ret) {
        FetchMessage m = {};
        uint64_t number;
        const char *word;
        size_t t = 0;
        int r = 0;

        if (n == 0 || n > FETCH_MESSAGE_MAX || strlen(buf) != n)
                return -EBADMSG;
        m.text = buf;
        word = next_word(&m.text);
        while (t < ELEMENTSOF(types) && !streq(types[t], word))
                t++;
        if (t == ELEMENTSOF(types))
                return -EBADMSG;
        m.type = (FetchType) t;
        if (m.type == FETCH_COPY || m.type == FETCH_PROGRESS)
                r = next_number(&m.text, INT64_MAX, &m.bytes);
        if (r >= 0 && m.type == FETCH_PROGRESS) {
                r = next_number(&m.text, UINT32_MAX, &number);
                m.blobs = r < 0 ? 0 : (unsigned) number;
        } else if (m.type == FETCH_ERROR) {
                m.error = fetch_error_from_string(next_word(&m.text));
                r = (int) m.error < 0 ? -EBADMSG : 0;
                utf8_sanitize(m.text);
        }
        if (r < 0)
                return r;
        /* Those that have text must, and no other. */
        if (isempty(m.text) != (m.type == FETCH_PROGRESS || m.type == FETCH_DOCUMENT) && m.type != FETCH_FILES)
                return -EBADMSG;
        *ret = m;
        return 0;
}

int fetch_message_format(const FetchMessage *m, char buf[static FETCH_MESSAGE_MAX + 1]) {
        const char *text = strempty(m->text), *type = types[m->type];
        int n;

        switch (m->type) {
        case FETCH_COPY:
                n = snprintf(buf, FETCH_MESSAGE_MAX + 1, "%s %" PRIu64 " %s", type, m->bytes, text);
                break;
        case FETCH_PROGRESS:
                n = snprintf(buf, FETCH_MESSAGE_MAX + 1, "%s %" PRIu64 " %u", type, m->bytes, m->blobs);
                break;
        case FETCH_ERROR:
                n = snprintf(buf, FETCH_MESSAGE_MAX + 1, "%s %s %.*s", type, fetch_error_to_string(m->error),
                                (int) FETCH_SENTENCE_MAX, text);
                break;
        default:
                n = snprintf(buf, FETCH_MESSAGE_MAX + 1, "%s%s%s", type, *text ? " " : "", text);
        }
        return n < 0 || n > (int) FETCH_MESSAGE_MAX ? -E2BIG : n;
}

int fetch_send(int fd, const FetchMessage *m, const int *fds, size_t n_fds) {
        char buf[FETCH_MESSAGE_MAX + 1];
        int n;

        if (n_fds > FETCH_FILES_MAX)
                return -E2BIG;
        n = fetch_message_format(m, buf);
        return n < 0 ? n : send_fds(fd, buf, (size_t) n, fds, n_fds, MSG_DONTWAIT);
}

int fetch_receive(int fd, char buf[static FETCH_MESSAGE_MAX + 1], FetchMessage *ret, int *fds, size_t *ret_n_fds) {
        ssize_t n;
        int r;

        n = receive_fds(fd, buf, FETCH_MESSAGE_MAX, fds, FETCH_FILES_MAX, ret_n_fds, MSG_DONTWAIT);
        if (n == 0 || n == -ECONNRESET)
                return 0;
        if (n < 0)
                return n == -EMSGSIZE ? -EBADMSG : (int) n;
        buf[n] = 0;
        r = fetch_message_parse(buf, (size_t) n, ret);
        return r < 0 ? r : 1;
}
