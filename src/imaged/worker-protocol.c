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

bool worker_name_is_valid(const char *name) {
        size_t n = strlen(name);

        if (n == 0 || n > WORKER_NAME_MAX || name[n - 1] == '/' ||
                        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@:+-/") !=
                                        n)
                return false;
        for (const char *p = name;; p++) {
                size_t k = strcspn(p, "/");

                if (k == 0 || (k == 1 && *p == '.') || (k == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += k;
                if (!*p)
                        return true;
        }
}

/* What follows the word. */
static int parse_rest(char **p, WorkerLine *l) {
        uint64_t entries = 0, dropped = 0, error = 0;
        int r = 0;

        switch (l->type) {
        case WORKER_PROGRESS:
                r = next_number(p, INT64_MAX, &l->bytes);
                if (r >= 0)
                        r = next_number(p, UINT32_MAX, &entries);
                break;
        case WORKER_LAYER:
                r = next_number(p, UINT8_MAX, &entries);
                break;
        case WORKER_ENTRY:
                r = next_number(p, INT64_MAX, &l->offset);
                if (r >= 0)
                        r = next_number(p, INT64_MAX, &l->bytes);
                if (r >= 0 && !worker_name_is_valid(*p))
                        r = -EBADMSG;
                break;
        case WORKER_DONE:
                r = next_number(p, UINT32_MAX, &entries);
                if (r >= 0)
                        r = next_number(p, INT64_MAX, &l->bytes);
                if (r >= 0)
                        r = next_number(p, UINT32_MAX, &dropped);
                break;
        case WORKER_ERROR:
                r = next_number(p, 4095, &error);
                if (r >= 0 && (error == 0 || isempty(*p) || !utf8_is_clean(*p, NULL)))
                        r = -EBADMSG;
        }
        l->entries = (uint32_t) entries;
        l->dropped = (uint32_t) dropped;
        l->error = (int) error;
        return r;
}

static const char *const words[] = {
        [WORKER_PROGRESS] = "progress",
        [WORKER_LAYER] = "layer",
        [WORKER_ENTRY] = "entry",
        [WORKER_DONE] = "done",
        [WORKER_ERROR] = "error",
};

int worker_line_parse(const char *line, WorkerLine *ret) {
        char copy[WORKER_LINE_MAX], *p = copy;
        size_t n = strlen(line), type = 0;
        WorkerLine l = {};
        const char *word;
        int r;

        if (n == 0 || n >= sizeof(copy) || line[n - 1] == ' ')
                return -EBADMSG;
        strcpy(copy, line);
        word = next_word(&p);
        while (type < ELEMENTSOF(words) && !streq(word, words[type]))
                type++;
        if (type == ELEMENTSOF(words))
                return -EBADMSG;
        l.type = (WorkerLineType) type;
        r = parse_rest(&p, &l);
        if (r < 0)
                return r;
        if (l.type == WORKER_ERROR)
                l.sentence = line + (p - copy);
        else if (l.type == WORKER_ENTRY)
                l.name = line + (p - copy);
        else if (*p)
                return -EBADMSG;
        *ret = l;
        return 0;
}

size_t worker_line_format(const WorkerLine *l, char buf[static WORKER_LINE_MAX]) {
        int n;

        switch (l->type) {
        case WORKER_PROGRESS:
                n = snprintf(buf, WORKER_LINE_MAX, "progress %" PRIu64 " %" PRIu32 "\n", l->bytes,
                                l->entries);
                break;
        case WORKER_LAYER:
                n = snprintf(buf, WORKER_LINE_MAX, "layer %" PRIu32 "\n", l->entries);
                break;
        case WORKER_ENTRY:
                n = snprintf(buf, WORKER_LINE_MAX, "entry %" PRIu64 " %" PRIu64 " %s\n", l->offset, l->bytes,
                                l->name);
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
