/* SPDX-License-Identifier: Apache-2.0 */

/* Tar to tree, see the header. */

#include "imaged/tar-import.h"

#include <archive_entry.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/archive-sniff.h"
#include "imaged/whiteout.h"

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

        *attributes = (TreeInode){
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
                attributes->target = archive_entry_symlink(entry);
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
                        return tar_stream_error(p->stream, &p->why);
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
        r = squashfs_writer_file_begin(p->writer, inode, (uint64_t) size);
        if (r >= 0)
                r = read_blocks(p, entry, (uint64_t) size);
        return r < 0 ? r : squashfs_writer_file_end(p->writer);
}

static int read_again(Import *p, struct archive_entry *entry, uint32_t number) {
        TreeInode *inode = number < p->n_wanted ? p->wanted[number] : NULL;

        if (!inode)
                return 0;
        /* Digests are checked at the end; the tree is there already. */
        if (archive_entry_filetype(entry) != S_IFREG || archive_entry_hardlink(entry) ||
                        archive_entry_size(entry) < 0 ||
                        (uint64_t) archive_entry_size(entry) != squashfs_writer_file_size(inode))
                return failed(p, -EBADMSG, "The blob was changed while it was read.");
        return read_contents(p, entry, inode);
}

/* The first entry that has a name of its own tells. */
static int check_kind(Import *p, const char *path) {
        Sniff sniff;

        if (p->sniffed || !p->limits->no_images)
                return 0;
        sniff = archive_sniff_name(path);
        p->sniffed = sniff != SNIFF_MORE;
        return sniff == SNIFF_ARCHIVE ? failed(p, -EBADMSG,
                                                        "The archive holds an image and is compressed, or can only be read "
                                                        "once: it must be a plain tar. Decompress it first.")
                                      : 0;
}

static int read_entry(Import *p, struct archive_entry *entry) {
        const char *path = archive_entry_pathname(entry), *link = archive_entry_hardlink(entry);
        TreeInode attributes, *inode;
        int r;

        if (isempty(path))
                return failed(p, -EBADMSG, "The archive holds an entry without a name.");
        r = check_kind(p, path);
        if (r < 0)
                return r;
        if (p->layers) {
                r = whiteout_apply(p->tree, path, &p->why);
                if (r != 0)
                        return MIN2(r, 0);
        }
        if (link)
                return tree_link(p->tree, path, link, &p->why);
        r = read_attributes(p, entry, &attributes);
        if (r < 0)
                return r;
        r = tree_add(p->tree, path, &attributes, &inode, &p->why);
        if (r < 0)
                return r;
        inode->number = p->n_headers - 1;
        return S_ISREG(inode->mode) ? read_contents(p, entry, inode) : 0;
}

static int read_entries(Import *p) {
        struct archive_entry *entry;
        int r;

        while (p->tar) {
                r = archive_read_next_header(p->tar, &entry);
                if (r == ARCHIVE_EOF)
                        break;
                /* A warning is about a name that is not UTF-8: names are bytes, it is there as it was. */
                if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
                        return tar_stream_error(p->stream, &p->why);
                /* The tree counts names; this also counts those that only replace one. */
                if (p->n_headers++ >= p->limits->max_entries) {
                        p->why = strprintf(
                                        "The archive holds more than %u entries.", p->limits->max_entries);
                        return p->why ? -EDQUOT : -ENOMEM;
                }
                r = p->wanted ? read_again(p, entry, p->n_headers - 1) : read_entry(p, entry);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void on_progress(uint64_t bytes, void *userdata) {
        Import *p = userdata;

        /* Reading again is no progress. */
        p->progress(p->wanted ? p->n_bytes_before : p->n_bytes_before + bytes, p->n_headers, p->userdata);
}

/* An entry may carry contents that nobody counts: a whiteout, a hard link, what is not in the map of a sparse file. They are
 * only read past, but a small blob can have terabytes of them. */
#define BUDGET_PER_ENTRY 4096u
#define BUDGET_SLACK (UINT64_C(512) << 20) /* of extended attributes, in two encodings */

uint64_t import_budget(const ImportLimits *limits) {
        return MIN2(limits->max_bytes, UINT64_MAX / 2) + (uint64_t) limits->max_entries * BUDGET_PER_ENTRY + BUDGET_SLACK;
}

int import_stream(Import *p, const TarInput *input) {
        _cleanup_(tar_stream_freep) TarStream *s = NULL;
        int r;

        r = tar_stream_open(input, p->progress ? on_progress : NULL, p, &s, &p->why);
        if (r < 0)
                return r;
        p->stream = s;
        p->tar = tar_stream_archive(s);
        r = read_entries(p);
        if (r >= 0)
                r = tar_stream_finish(s, &p->why);
        p->stream = NULL;
        p->tar = NULL;
        p->result.n_entries = tree_n_entries(p->tree);
        return r;
}

int tar_import(int fd, const ImportLimits *limits, Tree *tree, SquashfsWriter *writer,
                import_progress_t progress, void *userdata, ImportResult *ret, char **ret_why) {
        Import p = {
                .limits = limits,
                .budget = import_budget(limits),
                .tree = tree,
                .writer = writer,
                .progress = progress,
                .userdata = userdata,
        };
        int r;

        r = import_stream(&p, &(TarInput){ .fd = fd, .budget = &p.budget });
        if (r < 0) {
                *ret_why = p.why;
                return r;
        }
        free(p.why);
        *ret = p.result;
        return 0;
}
