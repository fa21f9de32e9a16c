/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/text.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define REPLACEMENT "\xef\xbf\xbd"

char *text_replace_invalid(const char *p, size_t n, size_t *ret_size) {
        size_t size = 0, at = 0;
        char *q;

        for (size_t i = 0, l; i < n; i += l ?: 1) {
                l = utf8_sequence_n(p + i, n - i);
                size += l ?: strlen(REPLACEMENT);
        }
        q = malloc(size ?: 1);
        if (!q)
                return NULL;
        for (size_t i = 0, l; i < n; i += l ?: 1) {
                l = utf8_sequence_n(p + i, n - i);
                memcpy(q + at, l > 0 ? p + i : REPLACEMENT, l ?: strlen(REPLACEMENT));
                at += l ?: strlen(REPLACEMENT);
        }
        *ret_size = size;
        return q;
}

size_t text_tail(const char *p, size_t n, uint64_t lines) {
        size_t i = n;

        if (lines == 0)
                return n;
        if (i > 0 && p[i - 1] == '\n')
                i--;
        for (; i > 0; i--)
                if (p[i - 1] == '\n' && --lines == 0)
                        break;
        return i;
}

static bool is_continuation(char c) {
        return ((unsigned char) c & 0xc0) == 0x80;
}

/* Of the sequence that c begins; 0: none. */
static size_t announced(char c) {
        unsigned char u = (unsigned char) c;

        return u >= 0xc2 && u < 0xe0 ? 2 : u >= 0xe0 && u < 0xf0 ? 3 : u >= 0xf0 && u < 0xf5 ? 4 : 0;
}

size_t text_complete(const char *p, size_t n) {
        for (size_t k = 1; k < 4 && k <= n; k++) {
                if (is_continuation(p[n - k]))
                        continue;
                return announced(p[n - k]) > k ? n - k : n;
        }
        return n;
}

size_t text_broken_head(const char *p, size_t n) {
        size_t k = 0;

        while (k < 3 && k < n && is_continuation(p[k]))
                k++;
        return k;
}

char *base64_encode(const void *p, size_t n) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const uint8_t *b = p;
        char *out, *q;

        if (n > SIZE_MAX / 2)
                return NULL;
        q = out = malloc((n + 2) / 3 * 4 + 1);
        if (!out)
                return NULL;
        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = (uint32_t) b[i] << 16 | (uint32_t) (i + 1 < n ? b[i + 1] : 0) << 8 | (i + 2 < n ? b[i + 2] : 0);

                *q++ = digits[v >> 18];
                *q++ = digits[v >> 12 & 63];
                *q++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
                *q++ = i + 2 < n ? digits[v & 63] : '=';
        }
        *q = 0;
        return out;
}

int json_set_bytes(json_t *object, const char *key, const char *p, size_t n) {
        _cleanup_free_ char *encoded = NULL, *other = NULL;
        int r;

        if (utf8_is_valid_n(p, n))
                r = json_object_set_new(object, key, json_stringn(strempty(p), n));
        else {
                encoded = base64_encode(p, n);
                other = strprintf("%s_base64", key);
                if (!encoded || !other)
                        return -ENOMEM;
                r = json_object_set_new(object, other, json_string(encoded));
        }
        return r < 0 ? -ENOMEM : 0;
}
