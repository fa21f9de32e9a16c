/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/json-text.h"

#include <inttypes.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

void json_text_add(JsonText *t, const char *s, size_t n) {
        if (t->failed || !GREEDY_REALLOC(t->p, t->allocated, t->n + n + 1)) {
                t->failed = true;
                return;
        }
        memcpy(t->p + t->n, s, n);
        t->n += n;
}

void json_text_raw(JsonText *t, const char *s) {
        json_text_add(t, s, strlen(s));
}

static void add_escaped(JsonText *t, unsigned char c) {
        char buf[8];

        if (c == '"' || c == '\\')
                (void) snprintf(buf, sizeof(buf), "\\%c", c);
        else if (c == '\n')
                (void) snprintf(buf, sizeof(buf), "\\n");
        else
                (void) snprintf(buf, sizeof(buf), "\\u%04x", c);
        json_text_raw(t, buf);
}

void json_text_string(JsonText *t, const char *s) {
        if (!s) {
                json_text_raw(t, "null");
                return;
        }
        json_text_add(t, "\"", 1);
        while (*s) {
                size_t n = 0;

                while ((unsigned char) s[n] >= 0x20 && s[n] != '"' && s[n] != '\\' && s[n] != 0x7f)
                        n++;
                json_text_add(t, s, n);
                s += n;
                if (*s)
                        add_escaped(t, (unsigned char) *s++);
        }
        json_text_add(t, "\"", 1);
}

void json_text_unsigned(JsonText *t, uint64_t v) {
        char buf[24];
        int n = snprintf(buf, sizeof(buf), "%" PRIu64, v);

        json_text_add(t, buf, (size_t) n);
}

void json_text_integer(JsonText *t, int64_t v) {
        char buf[24];
        int n = snprintf(buf, sizeof(buf), "%" PRIi64, v);

        json_text_add(t, buf, (size_t) n);
}

void json_text_time(JsonText *t, uint64_t realtime_usec) {
        char buf[FORMAT_TIMESTAMP_MAX];

        json_text_string(t, realtime_usec ? format_timestamp(buf, realtime_usec) : NULL);
}

void json_text_key(JsonText *t, const char *key) {
        if (t->n > 0 && t->p[t->n - 1] != '{' && t->p[t->n - 1] != '[')
                json_text_add(t, ",", 1);
        json_text_string(t, key);
        json_text_add(t, ":", 1);
}

char *json_text_take(JsonText *t, size_t *ret_size) {
        char *p;

        if (!t->failed && !t->p)
                json_text_add(t, "", 0);
        if (t->failed) {
                json_text_done(t);
                return NULL;
        }
        t->p[t->n] = 0;
        if (ret_size)
                *ret_size = t->n;
        p = t->p;
        *t = (JsonText) {};
        return p;
}

void json_text_done(JsonText *t) {
        free(t->p);
        *t = (JsonText) {};
}
