/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/string-util.h"

#include <stdarg.h>
#include <stdio.h>

#include "basic/alloc-util.h"

const char *startswith(const char *s, const char *prefix) {
        size_t l = strlen(prefix);

        return strncmp(s, prefix, l) == 0 ? s + l : NULL;
}

int free_and_strdup(char **p, const char *s) {
        char *copy = NULL;

        if (s) {
                copy = strdup(s);
                if (!copy)
                        return -ENOMEM;
        }
        free(*p);
        *p = copy;
        return 0;
}

char *strprintf(const char *format, ...) {
        char *ret = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&ret, format, ap);
        va_end(ap);
        return n < 0 ? NULL : ret;
}

char *strstrip(char *s) {
        char *e;

        s += strspn(s, " \t\r\n");
        for (e = s + strlen(s); e > s && strchr(" \t\r\n", e[-1]); e--)
                ;
        *e = 0;
        return s;
}

static size_t utf8_sequence(const unsigned char *s, size_t n) {
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        uint32_t c;
        size_t l;

        if (s[0] < 0x80)
                return 1;
        if ((s[0] & 0xe0) == 0xc0) {
                l = 2;
                c = s[0] & 0x1f;
        } else if ((s[0] & 0xf0) == 0xe0) {
                l = 3;
                c = s[0] & 0x0f;
        } else if ((s[0] & 0xf8) == 0xf0) {
                l = 4;
                c = s[0] & 0x07;
        } else
                return 0;
        if (l > n)
                return 0;
        for (size_t i = 1; i < l; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if (c < smallest[l] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || (c >= 0xfdd0 && c <= 0xfdef) ||
            (c & 0xfffe) == 0xfffe)
                return 0;
        return l;
}

size_t utf8_sequence_n(const char *s, size_t n) {
        return n > 0 ? utf8_sequence((const unsigned char *) s, n) : 0;
}

char *utf8_sanitize(char *s) {
        for (char *p = s; *p;) {
                size_t l = utf8_sequence((const unsigned char *) p, strlen(p));

                if (l == 0 || (unsigned char) *p < 0x20 || *p == 0x7f) {
                        *p++ = '?';
                        continue;
                }
                p += l;
        }
        return s;
}

bool utf8_is_valid_n(const char *s, size_t n) {
        for (size_t i = 0, l; i < n; i += l) {
                l = utf8_sequence((const unsigned char *) s + i, n - i);
                if (l == 0)
                        return false;
        }
        return true;
}

bool utf8_is_clean(const char *s, const char *allow) {
        if (!utf8_is_valid_n(s, strlen(s)))
                return false;
        for (; *s; s++)
                if (((unsigned char) *s < 0x20 || *s == 0x7f) && (!allow || !strchr(allow, *s)))
                        return false;
        return true;
}
