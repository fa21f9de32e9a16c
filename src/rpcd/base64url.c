/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/base64url.h"

#include "basic/alloc-util.h"

static int value_of(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '-' ? 62 : c == '_' ? 63 : -1;
}

ssize_t base64url_size(const char *text, size_t n) {
        /* The last character's bits beyond the content. */
        const int unused = n % 4 == 2 ? 0x0f : n % 4 == 3 ? 0x03 : 0;

        if (n % 4 == 1)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++)
                if (value_of(text[i]) < 0)
                        return -EBADMSG;
        if (n > 0 && value_of(text[n - 1]) & unused)
                return -EBADMSG;
        return (ssize_t) (n / 4 * 3 + (n % 4 > 0 ? n % 4 - 1 : 0));
}

int base64url_decode(const char *text, size_t n, char **ret, size_t *ret_size) {
        const ssize_t size = base64url_size(text, n);
        uint32_t bits = 0;
        size_t k = 0;
        char *p;

        if (size < 0)
                return (int) size;
        p = new(char, (size_t) size + 1);
        if (!p)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                bits = bits << 6 | (uint32_t) value_of(text[i]);
                if (i % 4 > 0)
                        p[k++] = (char) (bits >> (6 - 2 * (i % 4)));
        }
        p[k] = 0;
        *ret = p;
        *ret_size = k;
        return 0;
}
