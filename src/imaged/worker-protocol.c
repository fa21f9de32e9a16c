/* SPDX-License-Identifier: Apache-2.0 */

/* Lines between worker and daemon, see the header. Pure. */

#include "imaged/worker-protocol.h"

#include <inttypes.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"

/* Cuts the next word out of *p; the last one is what remains. */
static const char *next_word(char **p) {
        char *word = *p, *end;

        end = strchr(word, ' ');
        if (end)
                *end++ = 0;
        else
                end = word + strlen(word);
        *p = end;
        return word;
}

static int next_number(char **p, uint64_t max, uint64_t *ret) {
        uint64_t n;

        if (parse_uint64(next_word(p), &n) < 0 || n > max)
                return -EBADMSG;
        *ret = n;
        return 0;
}

int worker_line_parse(const char *line, WorkerLine *ret) {
        uint64_t entries = 0, bytes = 0, dropped = 0, error = 0;
        char copy[WORKER_LINE_MAX], *p = copy;
        WorkerLineType type;
        size_t n = strlen(line);
        const char *word;
        int r;

        if (n == 0 || n >= sizeof(copy) || line[n - 1] == ' ')
                return -EBADMSG;
        strcpy(copy, line);
        word = next_word(&p);
        if (streq(word, "progress")) {
                type = WORKER_PROGRESS;
                r = next_number(&p, INT64_MAX, &bytes);
                if (r >= 0)
                        r = next_number(&p, UINT32_MAX, &entries);
        } else if (streq(word, "done")) {
                type = WORKER_DONE;
                r = next_number(&p, UINT32_MAX, &entries);
                if (r >= 0)
                        r = next_number(&p, INT64_MAX, &bytes);
                if (r >= 0)
                        r = next_number(&p, UINT32_MAX, &dropped);
        } else if (streq(word, "error")) {
                type = WORKER_ERROR;
                r = next_number(&p, 4095, &error);
                if (r >= 0 && (error == 0 || isempty(p) || !utf8_is_clean(p, NULL)))
                        r = -EBADMSG;
        } else
                r = -EBADMSG;
        if (r < 0 || (type != WORKER_ERROR && *p))
                return -EBADMSG;
        *ret = (WorkerLine) {
                .type = type,
                .bytes = bytes,
                .entries = (uint32_t) entries,
                .dropped = (uint32_t) dropped,
                .error = (int) error,
                .sentence = type == WORKER_ERROR ? line + (p - copy) : NULL,
        };
        return 0;
}

size_t worker_line_format(const WorkerLine *l, char buf[static WORKER_LINE_MAX]) {
        int n;

        switch (l->type) {
        case WORKER_PROGRESS:
                n = snprintf(buf, WORKER_LINE_MAX, "progress %" PRIu64 " %" PRIu32 "\n", l->bytes,
                                l->entries);
                break;
        case WORKER_DONE:
                n = snprintf(buf, WORKER_LINE_MAX, "done %" PRIu32 " %" PRIu64 " %" PRIu32 "\n", l->entries,
                                l->bytes, l->dropped);
                break;
        default:
                /* One byte less, for the newline of a sentence that is too long. */
                n = snprintf(buf, WORKER_LINE_MAX - 1, "error %d %s", l->error, l->sentence);
                n = MIN2(n, (int) WORKER_LINE_MAX - 2);
                buf[n++] = '\n';
                buf[n] = 0;
        }
        return (size_t) n;
}
