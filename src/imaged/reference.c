/* SPDX-License-Identifier: Apache-2.0 */

/* Image references, see the header. Pure. */

#include "imaged/reference.h"

#include <stdio.h>

#include "basic/string-util.h"

/* Not isalnum() and friends: those ask the locale. */
static bool is_lower_alphanumeric(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_tag_character(char c, bool first) {
        return is_lower_alphanumeric(c) || (c >= 'A' && c <= 'Z') || c == '_' ||
               (!first && (c == '.' || c == '-'));
}

bool digest_is_valid(const char *s) {
        const char *hex = startswith(s, DIGEST_PREFIX);

        return hex && strspn(hex, "0123456789abcdef") == DIGEST_HEX_LENGTH && !hex[DIGEST_HEX_LENGTH];
}

static bool name_is_valid(const char *s, size_t n) {
        bool separator = true; /* none at the beginning, at the end, or after another */

        if (n == 0 || n > REFERENCE_NAME_MAX)
                return false;
        for (size_t i = 0; i < n; i++) {
                bool now = s[i] == '.' || s[i] == '_' || s[i] == '/' || s[i] == '-';

                if (now ? separator : !is_lower_alphanumeric(s[i]))
                        return false;
                separator = now;
        }
        return !separator;
}

static bool tag_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n > REFERENCE_TAG_MAX)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_tag_character(s[i], i == 0))
                        return false;
        return true;
}

int reference_normalize(const char *s, char buf[static REFERENCE_MAX + 1]) {
        size_t n = strcspn(s, ":");
        const char *tag = s[n] ? s + n + 1 : "latest";

        if (digest_is_valid(s)) {
                strcpy(buf, s);
                return 1;
        }
        if (!name_is_valid(s, n) || !tag_is_valid(tag))
                return -EINVAL;
        /* A digest with a typing error is not an image by the name of "sha256". */
        if (n == 6 && startswith(s, "sha256"))
                return -EINVAL;
        (void) snprintf(buf, REFERENCE_MAX + 1, "%.*s:%s", (int) n, s, tag);
        return 0;
}

static void replace(char *s, char from, char to) {
        for (; *s; s++)
                if (*s == from)
                        *s = to;
}

void reference_to_filename(const char *reference, char buf[static REFERENCE_MAX + 1]) {
        (void) snprintf(buf, REFERENCE_MAX + 1, "%s", reference);
        replace(buf, '/', '+');
        replace(buf, ':', '@');
}

int reference_from_filename(const char *filename, char buf[static REFERENCE_MAX + 1]) {
        char copy[REFERENCE_MAX + 1];

        if (strlen(filename) > REFERENCE_MAX || strpbrk(filename, "/:") || !strchr(filename, '@'))
                return -EINVAL;
        strcpy(copy, filename);
        replace(copy, '+', '/');
        replace(copy, '@', ':');
        return reference_normalize(copy, buf) == 0 ? 0 : -EINVAL;
}
