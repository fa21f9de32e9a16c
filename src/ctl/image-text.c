/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/image-text.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

char *shorten_digest(char buf[static SHORT_DIGEST_MAX], const char *digest) {
        const char *hex = startswith(digest, "sha256:");

        snprintf(buf, SHORT_DIGEST_MAX, "%s", hex ?: digest);
        return buf;
}

static bool is_plain(const char *word) {
        return word[0] && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")];
}

char *quote_words(char *const *words) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        FILE *f;

        f = open_memstream(&text, &n);
        if (!f)
                return NULL;
        STRV_FOREACH(word, words) {
                if (word != words)
                        fputc(' ', f);
                if (is_plain(*word)) {
                        fputs(*word, f);
                        continue;
                }
                fputc('\'', f);
                for (const char *p = *word; *p; p++)
                        if (*p == '\'')
                                fputs("'\\''", f);
                        else
                                fputc(*p, f);
                fputc('\'', f);
        }
        if (fclose(f) != 0)
                return NULL;
        return TAKE_PTR(text);
}

bool is_digest_beginning(const char *s) {
        const char *hex = startswith(s, "sha256:") ?: s;
        size_t n = strspn(hex, "0123456789abcdef");

        return n >= 6 && n <= 64 && !hex[n];
}
