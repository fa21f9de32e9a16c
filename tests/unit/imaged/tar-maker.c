/* SPDX-License-Identifier: Apache-2.0 */

/* Archives for tests, see the header. */

#include "unit/imaged/tar-maker.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

Tar tar_new(void) {
        Tar t = { .fd = memfd_create("tar", MFD_CLOEXEC) };

        assert_true(t.fd >= 0);
        return t;
}

void put(Tar *t, const void *p, size_t n) {
        assert_int_equal(write_all(t->fd, p, n), 0);
}

void put_padded(Tar *t, const void *p, size_t n) {
        static const char zeros[512];

        put(t, p, n);
        if (n % 512)
                put(t, zeros, 512 - n % 512);
}

Header header(const char *name, char type, uint64_t size) {
        Header h = {};

        _Static_assert(sizeof(Header) == 512, "a tar block");
        memcpy(h.name, name, strnlen(name, sizeof(h.name)));
        memcpy(h.magic, "ustar", 6);
        memcpy(h.version, "00", 2);
        (void) snprintf(h.mode, sizeof(h.mode), "%07o", type == '5' ? 0755u : 0644u);
        (void) snprintf(h.uid, sizeof(h.uid), "%07o", 0u);
        (void) snprintf(h.gid, sizeof(h.gid), "%07o", 0u);
        (void) snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long) size);
        (void) snprintf(h.mtime, sizeof(h.mtime), "%011o", 1u);
        h.type = type;
        return h;
}

void seal_header(Header *h) {
        unsigned sum = 0;

        memset(h->checksum, ' ', sizeof(h->checksum));
        for (size_t i = 0; i < sizeof(*h); i++)
                sum += ((unsigned char *) h)[i];
        (void) snprintf(h->checksum, sizeof(h->checksum), "%06o", sum);
}

void put_header(Tar *t, Header *h) {
        seal_header(h);
        put(t, h, sizeof(*h));
}

void put_entry(Tar *t, const char *name, char type, const char *link, const void *data, size_t size) {
        Header h = header(name, type, size);

        if (link)
                memcpy(h.link, link, strnlen(link, sizeof(h.link)));
        put_header(t, &h);
        if (size > 0)
                put_padded(t, data, size);
}

void put_file(Tar *t, const char *name, const char *text) {
        put_entry(t, name, '0', NULL, text, strlen(text));
}

/* One record of a pax header: "LENGTH KEY=VALUE\n", the length counting itself. */
size_t pax_record(char *buf, const char *key, const void *value, size_t size) {
        size_t rest = strlen(key) + size + 3, n = rest;

        /* Until the number of digits of the length no longer changes it. */
        while (n != rest + (size_t) snprintf(NULL, 0, "%zu", n))
                n = rest + (size_t) snprintf(NULL, 0, "%zu", n);
        (void) sprintf(buf, "%zu %s=", n, key);
        memcpy(buf + n - size - 1, value, size);
        buf[n - 1] = '\n';
        return n;
}

void put_pax(Tar *t, const char *key, const void *value, size_t size) {
        _cleanup_free_ char *buf = new(char, size + strlen(key) + 64);

        assert_non_null(buf);
        put_entry(t, "pax", 'x', NULL, buf, pax_record(buf, key, value, size));
}

void put_end(Tar *t) {
        static const char zeros[1024];

        put(t, zeros, sizeof(zeros));
}

/* A tar compressed by libarchive's filter. */
Tar compressed(Tar *t, int filter) {
        struct archive *a = archive_write_new();
        struct archive_entry *e;
        Tar c = tar_new();
        char buf[65536];
        ssize_t n;

        assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
        assert_int_equal(archive_write_add_filter(a, filter), ARCHIVE_OK);
        assert_int_equal(archive_write_open_fd(a, c.fd), ARCHIVE_OK);
        e = archive_entry_new();
        archive_entry_set_filetype(e, S_IFREG);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        archive_entry_free(e);
        assert_int_equal(lseek(t->fd, 0, SEEK_SET), 0);
        while ((n = read(t->fd, buf, sizeof(buf))) > 0)
                assert_int_equal(archive_write_data(a, buf, (size_t) n), n);
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
        t->fd = safe_close(t->fd);
        return c;
}
