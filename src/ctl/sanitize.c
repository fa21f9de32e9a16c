/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/sanitize.h"

#include <string.h>

#include "basic/string-util.h"

char *sanitize_line(const char *s) {
        char *copy = strdup(s);

        if (!copy)
                return NULL;
        for (char *p = copy; *p; p++) {
                unsigned char c = (unsigned char) *p;

                if (c == '\t' || c == '\n' || c == '\r')
                        *p = ' ';
                else if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char) p[1] >= 0x80 && (unsigned char) p[1] < 0xa0))
                        *p = '?'; /* C1 controls are two bytes in UTF-8, the second is caught below */
        }
        if (!utf8_is_valid_n(copy, strlen(copy)))
                for (char *p = copy; *p; p++)
                        if ((unsigned char) *p >= 0x80)
                                *p = '?';
        return copy;
}

static size_t text(Sanitizer *s, char c, char *out) {
        unsigned char u = (unsigned char) c;

        if (u == 0x1b) {
                s->state = SANITIZE_ESCAPE;
                return 0;
        }
        if (u == 0xc2) {
                s->state = SANITIZE_C2;
                return 0;
        }
        if ((u < 0x20 && !strchr("\n\r\t\b", c)) || u == 0x7f || u == 0)
                return 0;
        *out = c;
        return 1;
}

static size_t csi(Sanitizer *s, char c, char *out) {
        size_t n = 0;

        if (s->n < sizeof(s->sequence))
                s->sequence[s->n++] = c;
        if (c >= 0x20 && c < 0x40) /* parameters */
                return 0;
        if (c == 'm' && s->n < sizeof(s->sequence) && strspn(s->sequence + 2, "0123456789;:") == s->n - 3) {
                n = s->n;
                memcpy(out, s->sequence, n);
        }
        s->state = SANITIZE_TEXT;
        return n;
}

static size_t step(Sanitizer *s, char c, char *out) {
        switch (s->state) {
        case SANITIZE_TEXT:
                return text(s, c, out);
        case SANITIZE_ESCAPE:
                if (c == '[') {
                        memset(s->sequence, 0, sizeof(s->sequence));
                        memcpy(s->sequence, "\033[", 2);
                        s->n = 2;
                        s->state = SANITIZE_CSI;
                } else if (c && strchr("]P^_X", c))
                        s->state = SANITIZE_STRING;
                else if (c < 0x20 || c >= 0x30) /* intermediate bytes are followed by one more */
                        s->state = SANITIZE_TEXT;
                return 0;
        case SANITIZE_CSI:
                return csi(s, c, out);
        case SANITIZE_STRING:
                if (c == '\a' || c == '\n') /* a line's end too: an unfinished string must not hide the rest */
                        s->state = SANITIZE_TEXT;
                else if (c == 0x1b)
                        s->state = SANITIZE_STRING_ESCAPE;
                return 0;
        case SANITIZE_STRING_ESCAPE:
                s->state = c == '\\' ? SANITIZE_TEXT : SANITIZE_STRING;
                return 0;
        case SANITIZE_C2:
                s->state = SANITIZE_TEXT;
                if ((unsigned char) c >= 0x80 && (unsigned char) c < 0xa0)
                        return 0;
                *out = (char) 0xc2;
                return 1 + text(s, c, out + 1);
        }
        return 0;
}

size_t sanitize_stream(Sanitizer *s, const char *in, size_t n, char *out) {
        size_t written = 0;

        for (size_t i = 0; i < n; i++)
                written += step(s, in[i], out + written);
        return written;
}
