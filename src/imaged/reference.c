/* SPDX-License-Identifier: Apache-2.0 */

/* Image references, see the header. Pure. */

#include "imaged/reference.h"

#include <stdio.h>

#include "basic/string-util.h"

#define DEFAULT_REGISTRY "docker.io"
#define DEFAULT_TAG "latest"

/* Not isalnum() and friends: those ask the locale. */
static bool is_lower_alphanumeric(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alphanumeric(char c) {
        return is_lower_alphanumeric(c) || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static size_t hex_length(const char *s) {
        return strspn(s, "0123456789abcdef");
}

bool digest_is_valid(const char *s) {
        const char *hex = startswith(s, DIGEST_PREFIX);

        return hex && hex_length(hex) == DIGEST_HEX_LENGTH && !hex[DIGEST_HEX_LENGTH];
}

const char *digest_abbreviated(const char *s) {
        const char *hex = startswith(s, DIGEST_PREFIX) ?: s;
        size_t n = hex_length(hex);

        return n >= DIGEST_ABBREVIATED_MIN && n <= DIGEST_HEX_LENGTH && !hex[n] ? hex : NULL;
}

/* Labels of a host name, and perhaps ":PORT". */
static bool registry_is_valid(const char *s, size_t n) {
        bool inside = false; /* of a label, where a "-" may be */
        size_t i;

        for (i = 0; i < n && s[i] != ':'; i++) {
                if (is_alphanumeric(s[i]))
                        inside = true;
                else if (!inside || (s[i] != '-' && s[i] != '.') || (s[i] == '.' && s[i - 1] == '-'))
                        return false;
                else if (s[i] == '.')
                        inside = false;
        }
        if (!inside || s[i - 1] == '-')
                return false;
        if (i == n)
                return true;
        n -= ++i; /* a port */
        if (n == 0 || n > 5)
                return false;
        for (; n > 0; n--)
                if (!is_digit(s[i++]))
                        return false;
        return true;
}

/* Separators of a path: none at its ends, one "/", ".", "_" or "__", or any number of "-". */
static bool separator_is_valid(const char *s, size_t n) {
        if (n == 1)
                return *s == '/' || *s == '.' || *s == '_' || *s == '-';
        if (n == 2 && s[0] == '_' && s[1] == '_')
                return true;
        for (size_t i = 0; i < n; i++)
                if (s[i] != '-')
                        return false;
        return true;
}

static bool path_is_valid(const char *s, size_t n) {
        size_t i = 0;

        if (n == 0 || !is_lower_alphanumeric(s[0]) || !is_lower_alphanumeric(s[n - 1]))
                return false;
        while (i < n) {
                size_t k = 0;

                while (i < n && is_lower_alphanumeric(s[i]))
                        i++;
                while (i + k < n && !is_lower_alphanumeric(s[i + k]))
                        k++;
                if (k > 0 && !separator_is_valid(s + i, k))
                        return false;
                i += k;
        }
        return true;
}

/* How long the registry in front of the name is; 0: there is none. */
static size_t registry_length(const char *name, size_t n) {
        const char *slash = memchr(name, '/', n);
        size_t k = slash ? (size_t) (slash - name) : 0;

        if (k == 0)
                return 0;
        if (memchr(name, '.', k) || memchr(name, ':', k) || (k == strlen("localhost") && strncmp(name, "localhost", k) == 0))
                return k;
        return 0;
}

static bool name_is_valid(const char *s, size_t n) {
        size_t k = registry_length(s, n);

        if (k > 0)
                return registry_is_valid(s, k) && path_is_valid(s + k + 1, n - k - 1);
        return path_is_valid(s, n) && !(n == 6 && strncmp(s, "sha256", 6) == 0);
}

static bool tag_is_valid(const char *s, size_t n) {
        if (n == 0 || n > REFERENCE_TAG_MAX || *s == '.' || *s == '-')
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alphanumeric(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-')
                        return false;
        return true;
}

/* The length of the name, that is up to the ":" of a tag, "@", or the end. */
static size_t name_length(const char *s) {
        size_t n = strcspn(s, "@");
        const char *slash = memrchr(s, '/', n), *colon = memrchr(s, ':', n);

        return colon && (!slash || colon > slash) ? (size_t) (colon - s) : n;
}

int reference_normalize(const char *s, char buf[static REFERENCE_MAX + 1]) {
        size_t n = name_length(s), k;
        const char *digest, *tag = "", *colon = "";

        if (digest_is_valid(s)) {
                strcpy(buf, s);
                return 1;
        }
        if (!name_is_valid(s, n))
                return -EINVAL;
        k = n + strcspn(s + n, "@");
        digest = s + k;
        if (s[n] == ':' && !tag_is_valid(s + n + 1, k - n - 1))
                return -EINVAL;
        if (*digest && !digest_is_valid(digest + 1))
                return -EINVAL;
        if (s[n] != ':' && !*digest) {
                colon = ":";
                tag = DEFAULT_TAG;
        }
        if (snprintf(buf, REFERENCE_MAX + 1, "%s%s%s", s, colon, tag) > (int) REFERENCE_MAX)
                return -EINVAL;
        return 0;
}

const char *reference_digest(const char *reference) {
        const char *at = strchr(reference, '@');

        return at ? at + 1 : NULL;
}

const char *reference_tag(const char *reference, size_t *ret_length) {
        size_t n = name_length(reference);

        if (reference[n] != ':')
                return NULL;
        *ret_length = strcspn(reference + n + 1, "@");
        return reference + n + 1;
}

void reference_location(const char *reference, const char *digest,
                        char buf[static REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2]) {
        const size_t size = REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2;
        size_t n = name_length(reference), tag_length;
        const char *tag = reference_tag(reference, &tag_length), *registry = "", *library = "";

        if (registry_length(reference, n) == 0) {
                registry = DEFAULT_REGISTRY "/";
                if (!memchr(reference, '/', n))
                        library = "library/";
        }
        digest = digest ?: reference_digest(reference);
        if (digest)
                (void) snprintf(buf, size, "%s%s%.*s@%s", registry, library, (int) n, reference, digest);
        else
                (void) snprintf(buf, size, "%s%s%.*s:%.*s", registry, library, (int) n, reference,
                                tag ? (int) tag_length : (int) strlen(DEFAULT_TAG), tag ?: DEFAULT_TAG);
}

static void replace(char *s, char from, char to) {
        for (; *s; s++)
                if (*s == from)
                        *s = to;
}

void reference_to_filename(const char *reference, char buf[static REFERENCE_MAX + 1]) {
        (void) snprintf(buf, REFERENCE_MAX + 1, "%s", reference);
        replace(buf, '/', '+');
        replace(buf, ':', '=');
}

int reference_from_filename(const char *filename, char buf[static REFERENCE_MAX + 1]) {
        char copy[REFERENCE_MAX + 1];

        if (strlen(filename) > REFERENCE_MAX || strpbrk(filename, "/:"))
                return -EINVAL;
        strcpy(copy, filename);
        replace(copy, '+', '/');
        replace(copy, '=', ':');
        return reference_normalize(copy, buf) == 0 && streq(copy, buf) ? 0 : -EINVAL;
}
