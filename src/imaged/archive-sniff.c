/* SPDX-License-Identifier: Apache-2.0 */

/* Looking at the beginning of a tar, see the header. */

#include "imaged/archive-sniff.h"

#include <stdio.h>

#include "basic/string-util.h"
#include "imaged/reference.h"

#define BLOCK 512u
#define NAME_SIZE 100u

typedef struct Header {
        char name[NAME_SIZE], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
        char rest[BLOCK - 157];
} Header;

static_assert(sizeof(Header) == BLOCK, "blocks are of this size");

/* Octal digits with spaces around; base-256 is for what is too large to be looked past. */
static int parse_octal(const char *p, size_t n, uint64_t *ret) {
        uint64_t v = 0;
        size_t i = 0;

        while (i < n && p[i] == ' ')
                i++;
        if (i == n || p[i] < '0' || p[i] > '7')
                return -EINVAL;
        for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
                v = v * 8 + (uint64_t) (p[i] - '0');
        if (i < n && p[i] != ' ' && p[i] != 0)
                return -EINVAL;
        *ret = v;
        return 0;
}

static bool checksum_is_right(const Header *h) {
        const uint8_t *p = (const uint8_t *) h;
        uint64_t wanted, sum = 0;

        if (parse_octal(h->checksum, sizeof(h->checksum), &wanted) < 0)
                return false;
        for (size_t i = 0; i < BLOCK; i++)
                sum += i >= offsetof(Header, checksum) && i < offsetof(Header, type) ? ' ' : p[i];
        return sum == wanted;
}

static bool is_word(const char *name, size_t n, const char *word) {
        return n == strlen(word) && strncmp(name, word, n) == 0;
}

/* The first part of the name. */
static bool is_of_images(const char *name) {
        size_t n = strcspn(name, "/"), hex = strspn(name, "0123456789abcdef");

        if (is_word(name, n, "blobs") || is_word(name, n, "oci-layout") || is_word(name, n, "index.json") ||
            is_word(name, n, "manifest.json") || is_word(name, n, "repositories"))
                return true;
        return hex == DIGEST_HEX_LENGTH &&
               (n == hex || is_word(name + hex, n - hex, ".json") || is_word(name + hex, n - hex, ".tar"));
}

Sniff archive_sniff_name(const char *name) {
        while (*name == '/' || (name[0] == '.' && (name[1] == '/' || !name[1])))
                name++;
        if (!*name)
                return SNIFF_MORE;
        return is_of_images(name) ? SNIFF_ARCHIVE : SNIFF_ROOTFS;
}

Sniff archive_sniff(const void *p, size_t n) {
        const char *data = p;

        while (n >= BLOCK) {
                const Header *h = (const void *) data;
                char name[NAME_SIZE + 1] = {};
                uint64_t size, skip;
                Sniff sniff;

                if (!checksum_is_right(h) || parse_octal(h->size, sizeof(h->size), &size) < 0)
                        return SNIFF_UNKNOWN;
                /* Extended headers of pax and GNU belong to the next one. */
                if (!strchr("xgLK", h->type ?: '0')) {
                        memcpy(name, h->name, NAME_SIZE);
                        sniff = archive_sniff_name(name);
                        if (sniff != SNIFF_MORE)
                                return sniff;
                        size = 0;
                }
                if (size > INT32_MAX)
                        return SNIFF_UNKNOWN;
                skip = BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
                if (skip > n)
                        return SNIFF_MORE;
                data += skip;
                n -= (size_t) skip;
        }
        return SNIFF_MORE;
}
