/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/tar-stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define BLOCK (64 * 1024)

typedef struct TarStream {
        struct archive *disk, *tar;
        struct archive_entry_linkresolver *links;
        char *error;
} TarStream;

static void tar_stream_done(TarStream *s) {
        archive_read_free(s->disk);
        archive_write_free(s->tar);
        archive_entry_linkresolver_free(s->links);
        free(s->error);
}

/* Remembers what went wrong; archive_errno() is an errno, or a number of libarchive's own. */
static int failed(TarStream *s, struct archive *a, const char *doing, const char *path) {
        int e = archive_errno(a);

        if (a == s->tar && e == EPIPE)
                return -EPIPE;
        free(s->error);
        /* Its sentences say what was tried, the number says why it did not work. */
        s->error = strprintf("cannot %s %s: %s", doing, path,
                             e > 0 && e != EILSEQ ? strerror(e) : strna(archive_error_string(a)));
        return e > 0 ? -e : -EIO;
}

static int tar_stream_open(TarStream *s, int out_fd) {
        s->disk = archive_read_disk_new();
        s->tar = archive_write_new();
        s->links = archive_entry_linkresolver_new();
        if (!s->disk || !s->tar || !s->links)
                return -ENOMEM;
        archive_read_disk_set_symlink_physical(s->disk);
        archive_read_disk_set_behavior(s->disk, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS | ARCHIVE_READDISK_NO_ACL |
                                                        ARCHIVE_READDISK_NO_FFLAGS);
        archive_write_set_format_pax(s->tar);
        /* Once, not in two encodings of which a reader would see both. */
        if (archive_write_set_format_option(s->tar, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK)
                return failed(s, s->tar, "set up", "the tar");
        archive_write_set_bytes_per_block(s->tar, BLOCK);
        archive_write_set_bytes_in_last_block(s->tar, 1);
        archive_entry_linkresolver_set_strategy(s->links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
        if (archive_write_open_fd(s->tar, out_fd) != ARCHIVE_OK)
                return failed(s, s->tar, "write", "the tar");
        return 0;
}

/* The tar writer wants holes as zeros, and leaves them out by the map that the entry carries. */
static int write_zeros(TarStream *s, int64_t n, const char *path) {
        static const char zeros[BLOCK];

        while (n > 0) {
                la_ssize_t k = archive_write_data(s->tar, zeros, (size_t) MIN2(n, (int64_t) BLOCK));

                if (k <= 0)
                        return failed(s, s->tar, "write", path);
                n -= k;
        }
        return 0;
}

static int write_contents(TarStream *s, const char *path) {
        const void *block;
        int64_t offset, at = 0;
        size_t n;
        int r;

        for (;;) {
                r = archive_read_data_block(s->disk, &block, &n, &offset);
                if (r == ARCHIVE_EOF)
                        return 0; /* a hole at the end needs no writing */
                if (r < ARCHIVE_WARN)
                        return failed(s, s->disk, "read", path);
                r = write_zeros(s, offset - at, path);
                if (r < 0)
                        return r;
                at = offset + (int64_t) n;
                for (const char *p = block; n > 0;) {
                        la_ssize_t k = archive_write_data(s->tar, p, n);

                        if (k < 0)
                                return failed(s, s->tar, "write", path);
                        if (k == 0) /* the file has grown since; the entry's size holds */
                                return 0;
                        p += k;
                        n -= (size_t) k;
                }
        }
}

static int write_entry(TarStream *s, struct archive_entry *entry) {
        struct archive_entry *spare = NULL;
        const char *path = archive_entry_pathname(entry);
        int r;

        if (archive_entry_filetype(entry) == AE_IFSOCK)
                return 0;
        archive_entry_linkify(s->links, &entry, &spare); /* the tar strategy keeps nothing back */
        if (!entry)
                return 0;
        r = archive_write_header(s->tar, entry);
        if (r < ARCHIVE_WARN)
                return failed(s, s->tar, "write", strna(path));
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || archive_entry_size(entry) == 0)
                return 0;
        return write_contents(s, strna(path));
}

/* All below top, and top itself. */
static int write_tree(TarStream *s, const char *top) {
        struct archive_entry *entry;
        int r;

        if (archive_read_disk_open(s->disk, top) != ARCHIVE_OK)
                return failed(s, s->disk, "read", top);
        entry = archive_entry_new();
        if (!entry)
                return -ENOMEM;
        for (;;) {
                r = archive_read_next_header2(s->disk, entry);
                if (r == ARCHIVE_EOF) {
                        r = 0;
                        break;
                }
                if (r < ARCHIVE_OK) { /* a warning here is a file or attribute that could not be read: not whole */
                        r = failed(s, s->disk, "read", archive_entry_pathname(entry) ?: top);
                        break;
                }
                if (archive_read_disk_can_descend(s->disk))
                        archive_read_disk_descend(s->disk);
                r = write_entry(s, entry);
                if (r < 0)
                        break;
                archive_entry_clear(entry);
        }
        archive_entry_free(entry);
        archive_read_close(s->disk);
        return r;
}

/* What an OCI image layout consists of, in the order in which a reader of the stream wants it: first what tells it
 * from a root file system, then the index, then what the index names. Whatever else lies there is none of it. */
static const char *const oci_layout[] = { "oci-layout", "index.json", "blobs", NULL };
static const char *const root_directory[] = { ".", NULL };

static bool is_oci_layout(void) {
        return access("oci-layout", F_OK) >= 0 && access("index.json", F_OK) >= 0;
}

static int write_trees(TarStream *s) {
        int r = 0;

        for (const char *const *top = is_oci_layout() ? oci_layout : root_directory; *top && r >= 0; top++)
                r = write_tree(s, *top);
        return r;
}

int tar_stream_directory(int dir_fd, int out_fd, char **ret_error) {
        _cleanup_(tar_stream_done) TarStream s = {};
        int r;

        *ret_error = NULL;
        if (fchdir(dir_fd) < 0)
                return negative_errno();
        (void) setlocale(LC_CTYPE, "C.UTF-8"); /* names are bytes; libarchive asks the locale what they mean */
        r = tar_stream_open(&s, out_fd);
        if (r >= 0)
                r = write_trees(&s);
        if (r >= 0 && archive_write_close(s.tar) != ARCHIVE_OK)
                r = failed(&s, s.tar, "write", "the tar");
        if (r < 0)
                *ret_error = TAKE_PTR(s.error);
        return r;
}
