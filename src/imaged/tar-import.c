/* SPDX-License-Identifier: Apache-2.0 */

/* Tar to tree, see the header. Two readers are chained: the inner one undoes the compression, the outer one
 * reads the tar. So the bytes in between can be seen: whether the archive came to its end or was cut short
 * on the way, which a tar reader alone does not tell, and the end of the compressed stream with its
 * checksum, which a tar reader does not go to. */

#include "imaged/tar-import.h"

#include <archive.h>
#include <archive_entry.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define READ_SIZE (256u * 1024u)
#define TAR_BLOCK 512u
/* After the end of the archive: the padding of a record, but no second stream of unbounded length. */
#define TRAILER_MAX (64u * 1024u * 1024u)

static inline void archive_freep(struct archive **a) {
        if (*a)
                (void) archive_read_free(*a);
}

typedef struct Import {
        const ImportLimits *limits;
        Tree *tree;
        SquashfsWriter *writer;
        import_progress_t progress;
        void *userdata;

        int fd;
        char *buffer;
        struct archive *stream; /* undoes the compression */
        struct archive *tar;
        uint32_t n_headers;
        uint64_t n_xattr_bytes;
        bool input_seen, stream_ended, last_block_zero;

        ImportResult result;
        char *why;
} Import;

static int failed(Import *p, int error, const char *sentence) {
        free(p->why);
        p->why = sentence ? strdup(sentence) : NULL;
        return p->why ? error : -ENOMEM;
}

static int entry_failed(Import *p, int error, struct archive_entry *entry, const char *what) {
        _cleanup_free_ char *name = name_quote(strempty(archive_entry_pathname(entry)));

        free(p->why);
        p->why = name ? strprintf("Entry %s %s.", name, what) : NULL;
        return p->why ? error : -ENOMEM;
}

/* libarchive's sentence, made safe for a line: it may quote the archive. */
static int archive_failed(Import *p, struct archive *a) {
        _cleanup_free_ char *quoted = NULL;
        const char *text = archive_error_string(a);

        if (archive_errno(a) == ENOMEM)
                return -ENOMEM;
        if (a == p->tar && archive_error_string(p->stream))
                text = archive_error_string(p->stream);
        if (isempty(text)) /* a gzip trailer that is not there */
                return failed(p, -EBADMSG, "The archive cannot be read: it is damaged or cut short.");
        quoted = name_quote(text);
        free(p->why);
        p->why = quoted ? strprintf("The archive cannot be read: %s.", quoted) : NULL;
        return p->why ? -EBADMSG : -ENOMEM;
}

static bool all_zero(const char *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (p[i])
                        return false;
        return true;
}

static void report(Import *p) {
        if (p->progress)
                p->progress((uint64_t) archive_filter_bytes(p->stream, -1), p->n_headers, p->userdata);
}

/* The outer reader's source. */
static la_ssize_t on_read(struct archive *a, void *userdata, const void **ret) {
        Import *p = userdata;
        la_int64_t offset;
        size_t size = 0;
        int r;

        do
                r = archive_read_data_block(p->stream, ret, &size, &offset);
        while (r == ARCHIVE_OK && size == 0);
        if (r == ARCHIVE_EOF) {
                p->stream_ended = true;
                return 0;
        }
        if (r != ARCHIVE_OK) {
                archive_set_error(a, archive_errno(p->stream), "%s",
                                strempty(archive_error_string(p->stream)));
                return -1;
        }
        p->last_block_zero =
                        size >= TAR_BLOCK && all_zero((const char *) *ret + size - TAR_BLOCK, TAR_BLOCK);
        report(p);
        return (la_ssize_t) size;
}

/* The inner reader's source. Whether the other side of a pipe made it non-blocking is not ours to change. */
static la_ssize_t on_input(struct archive *a, void *userdata, const void **ret) {
        Import *p = userdata;

        *ret = p->buffer;
        for (;;) {
                ssize_t n = read(p->fd, p->buffer, READ_SIZE);

                p->input_seen |= n != 0;
                if (n >= 0)
                        return n;
                if (errno == EAGAIN)
                        (void) poll(&(struct pollfd) { .fd = p->fd, .events = POLLIN }, 1, -1);
                else if (errno != EINTR) {
                        archive_set_error(a, errno, "%s", strerror(errno));
                        return -1;
                }
        }
}

static int open_stream(Import *p) {
        struct archive_entry *entry;
        struct archive *a;
        int r;

        p->buffer = new(char, READ_SIZE);
        a = p->stream = archive_read_new();
        if (!a || !p->buffer)
                return -ENOMEM;
        /* None of those that libarchive leaves to programs. */
        if (archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
                        archive_read_support_filter_bzip2(a) != ARCHIVE_OK ||
                        archive_read_support_filter_xz(a) != ARCHIVE_OK ||
                        archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
                        archive_read_support_filter_lz4(a) != ARCHIVE_OK ||
                        archive_read_support_format_raw(a) != ARCHIVE_OK)
                return archive_failed(p, a);
        r = archive_read_open(a, p, NULL, on_input, NULL);
        if (r == ARCHIVE_OK)
                r = archive_read_next_header(a, &entry);
        if (r == ARCHIVE_OK)
                return 0;
        if (!p->input_seen)
                return failed(p, -EBADMSG, "The archive is empty.");
        return archive_failed(p, a);
}

static int open_tar(Import *p) {
        struct archive *a;

        a = p->tar = archive_read_new();
        if (!a)
                return -ENOMEM;
        if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
                        archive_read_open(a, p, NULL, on_read, NULL) != ARCHIVE_OK)
                return archive_failed(p, a);
        return 0;
}

static int read_xattrs(Import *p, struct archive_entry *entry, uint32_t *ret) {
        const char *name;
        const void *value;
        size_t size, sum = 0;
        int r, taken = 0;

        *ret = TREE_NO_XATTRS;
        if (archive_entry_acl_types(entry) &
                        (ARCHIVE_ENTRY_ACL_TYPE_ACCESS | ARCHIVE_ENTRY_ACL_TYPE_DEFAULT))
                p->result.n_dropped_xattrs++;
        r = archive_entry_xattr_reset(entry);
        if (r <= 0)
                return 0;
        if ((unsigned) r > IMPORT_XATTRS_MAX)
                return entry_failed(p, -EBADMSG, entry, "has more than 64 extended attributes");
        r = squashfs_writer_xattrs_begin(p->writer);
        while (r >= 0 && archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
                sum += size + strlen(name);
                if (strlen(name) > TREE_NAME_MAX || size > IMPORT_XATTR_VALUE_MAX ||
                                sum > IMPORT_XATTR_ENTRY_MAX)
                        return entry_failed(
                                        p, -EBADMSG, entry, "has extended attributes that are too large");
                if (p->n_xattr_bytes + sum > IMPORT_XATTR_TOTAL_MAX)
                        return failed(p, -EDQUOT,
                                        "The archive holds more than 64 MiB of extended attributes.");
                /* Those are the guest's overlayfs's own; in a lower layer they would mean something. */
                r = startswith(name, "trusted.overlay.")
                                    ? 0
                                    : squashfs_writer_xattr_add(p->writer, name, value, size);
                if (r == 0)
                        p->result.n_dropped_xattrs++;
                taken += r > 0;
        }
        p->n_xattr_bytes += sum;
        if (r < 0)
                return r;
        return squashfs_writer_xattrs_end(p->writer, ret) < 0 ? -ENOMEM : taken > 0;
}

static int read_owner(Import *p, struct archive_entry *entry, TreeInode *attributes) {
        int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

        if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
                return entry_failed(p, -EBADMSG, entry, "has an owner that is not a 32-bit number");
        attributes->uid = (uid_t) uid;
        attributes->gid = (gid_t) gid;
        return 0;
}

static int read_attributes(Import *p, struct archive_entry *entry, TreeInode *attributes) {
        int64_t mtime = archive_entry_mtime(entry);
        int r;

        *attributes = (TreeInode) {
                .mode = archive_entry_filetype(entry) | (archive_entry_perm(entry) & 07777),
                /* What SquashFS can hold: seconds of 1970 … 2106. */
                .mtime = (uint32_t) (mtime < 0 ? 0 : MIN2(mtime, (int64_t) UINT32_MAX)),
                .xattrs = TREE_NO_XATTRS,
        };
        r = read_owner(p, entry, attributes);
        if (r < 0)
                return r;
        switch (attributes->mode & S_IFMT) {
        case S_IFREG:
        case S_IFDIR:
        case S_IFIFO:
        case S_IFSOCK:
                break;
        case S_IFLNK:
                attributes->target = (char *) archive_entry_symlink(entry);
                if (isempty(attributes->target) || strlen(attributes->target) >= TREE_PATH_MAX)
                        return entry_failed(p, -EBADMSG, entry, "is a symbolic link to nothing or too far");
                attributes->mode |= 0777;
                break;
        case S_IFCHR:
        case S_IFBLK:
                if (tree_device((uint64_t) archive_entry_rdevmajor(entry),
                                    (uint64_t) archive_entry_rdevminor(entry), &attributes->device) < 0)
                        return entry_failed(
                                        p, -EBADMSG, entry, "is a device with a number Linux does not have");
                break;
        default:
                return entry_failed(p, -EBADMSG, entry, "is of a type that is not known");
        }
        return read_xattrs(p, entry, &attributes->xattrs);
}

static int too_large(Import *p) {
        free(p->why);
        p->why = strprintf("The archive holds more than %llu bytes of file contents.",
                        (unsigned long long) p->limits->max_bytes);
        return p->why ? -EDQUOT : -ENOMEM;
}

static int read_blocks(Import *p, struct archive_entry *entry, uint64_t size) {
        uint64_t done = 0;
        int r;

        for (;;) {
                const void *block;
                la_int64_t offset;
                size_t n;

                r = archive_read_data_block(p->tar, &block, &n, &offset);
                if (r == ARCHIVE_EOF)
                        break;
                if (r == ARCHIVE_WARN)
                        continue;
                if (r != ARCHIVE_OK)
                        return archive_failed(p, p->tar);
                if (offset < 0 || (uint64_t) offset < done || (uint64_t) offset > size ||
                                n > size - (uint64_t) offset)
                        return entry_failed(p, -EBADMSG, entry, "has contents outside of its size");
                r = squashfs_writer_file_hole(p->writer, (uint64_t) offset - done);
                if (r >= 0)
                        r = squashfs_writer_file_data(p->writer, block, n);
                if (r < 0)
                        return r;
                done = (uint64_t) offset + n;
        }
        return squashfs_writer_file_hole(p->writer, size - done);
}

static int read_contents(Import *p, struct archive_entry *entry, TreeInode *inode) {
        int64_t size = archive_entry_size(entry);
        int r;

        if (size < 0)
                return entry_failed(p, -EBADMSG, entry, "has a negative size");
        if ((uint64_t) size > p->limits->max_bytes - p->result.n_bytes)
                return too_large(p);
        p->result.n_bytes += (uint64_t) size;
        r = squashfs_writer_file_begin(p->writer, inode);
        if (r >= 0)
                r = read_blocks(p, entry, (uint64_t) size);
        return r < 0 ? r : squashfs_writer_file_end(p->writer);
}

static int read_entry(Import *p, struct archive_entry *entry) {
        const char *path = archive_entry_pathname(entry), *link = archive_entry_hardlink(entry);
        TreeInode attributes, *inode;
        int r;

        if (isempty(path))
                return failed(p, -EBADMSG, "The archive holds an entry without a name.");
        if (link)
                return tree_link(p->tree, path, link, &p->why);
        r = read_attributes(p, entry, &attributes);
        if (r < 0)
                return r;
        r = tree_add(p->tree, path, &attributes, &inode, &p->why);
        if (r < 0)
                return r;
        return S_ISREG(inode->mode) ? read_contents(p, entry, inode) : 0;
}

static int read_entries(Import *p) {
        struct archive_entry *entry;
        int r;

        for (;;) {
                r = archive_read_next_header(p->tar, &entry);
                if (r == ARCHIVE_EOF)
                        return 0;
                /* A warning is about a name that is not UTF-8: names are bytes, it is there as it was. */
                if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
                        return archive_failed(p, p->tar);
                /* The tree counts names; this also counts those that only replace one. */
                if (p->n_headers++ >= p->limits->max_entries) {
                        p->why = strprintf(
                                        "The archive holds more than %u entries.", p->limits->max_entries);
                        return p->why ? -EDQUOT : -ENOMEM;
                }
                r = read_entry(p, entry);
                if (r < 0)
                        return r;
        }
}

/* The tar reader is satisfied; is the stream? */
static int read_trailer(Import *p) {
        uint64_t n = 0;
        int r;

        if (p->stream_ended && !p->last_block_zero)
                return failed(p, -EBADMSG, "The archive has no end: it was cut short.");
        while (!p->stream_ended) {
                const void *block;
                la_int64_t offset;
                size_t size;

                r = archive_read_data_block(p->stream, &block, &size, &offset);
                if (r == ARCHIVE_EOF)
                        break;
                if (r != ARCHIVE_OK)
                        return archive_failed(p, p->stream);
                n += size;
                if (n > TRAILER_MAX)
                        return failed(p, -EBADMSG, "The archive is followed by something else.");
        }
        return 0;
}

int tar_import(int fd, const ImportLimits *limits, Tree *tree, SquashfsWriter *writer,
                import_progress_t progress, void *userdata, ImportResult *ret, char **ret_why) {
        Import p = {
                .fd = fd,
                .limits = limits,
                .tree = tree,
                .writer = writer,
                .progress = progress,
                .userdata = userdata,
        };
        int r;

        r = open_stream(&p);
        if (r >= 0)
                r = open_tar(&p);
        if (r >= 0)
                r = read_entries(&p);
        if (r >= 0)
                r = read_trailer(&p);
        archive_freep(&p.tar);
        archive_freep(&p.stream);
        free(p.buffer);
        if (r < 0) {
                *ret_why = p.why;
                return r;
        }
        free(p.why);
        p.result.n_entries = tree_n_entries(tree);
        *ret = p.result;
        return 0;
}
