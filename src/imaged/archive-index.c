/* SPDX-License-Identifier: Apache-2.0 */

/* The index of an archive, see the header. */

#include "imaged/archive-index.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/image-tree.h"
#include "imaged/worker-protocol.h"

#define READ_SIZE (64u * 1024u)

typedef struct Item {
        uint64_t offset, size;
        char *link; /* to the name it has in the archive */
        char name[WORKER_NAME_MAX + 1];
} Item;

typedef struct Index {
        int fd;
        uint64_t position, end;
        char buffer[READ_SIZE];
        Item *items; /* WORKER_ENTRIES_MAX */
        uint32_t n;
        char *why;
} Index;

static inline void archive_freep(struct archive **a) {
        if (*a)
                (void) archive_read_free(*a);
}

static Index *index_free(Index *x) {
        for (uint32_t i = 0; x->items && i < x->n; i++)
                free(x->items[i].link);
        free(x->items);
        return mfree(x);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Index *, index_free);

static int refuse(Index *x, const char *name, const char *what) {
        _cleanup_free_ char *quoted = name_quote(name);

        x->why = quoted ? strprintf("Entry %s of the archive %s.", quoted, what) : NULL;
        return x->why ? -EBADMSG : -ENOMEM;
}

static int say(Index *x, const char *sentence) {
        x->why = strdup(sentence);
        return x->why ? -EBADMSG : -ENOMEM;
}

static la_ssize_t on_read(struct archive *a, void *userdata, const void **ret) {
        Index *x = userdata;
        ssize_t n;

        n = pread(x->fd, x->buffer, sizeof(x->buffer), (off_t) x->position);
        if (n < 0) {
                archive_set_error(a, errno, "%s", strerror(errno));
                return -1;
        }
        x->position += (uint64_t) n;
        *ret = x->buffer;
        return n;
}

/* Contents are not read. */
static la_int64_t on_skip(struct archive *a, void *userdata, la_int64_t n) {
        Index *x = userdata;

        n = (la_int64_t) MIN2((uint64_t) n, x->end - MIN2(x->position, x->end));
        x->position += (uint64_t) n;
        return n;
}

/* In the same words for all: no "./" before, no "/" behind. */
static const char *clean_name(const char *name, char buf[static WORKER_NAME_MAX + 1]) {
        size_t n;

        while (startswith(name, "./"))
                name += 2;
        n = strlen(name);
        if (n > WORKER_NAME_MAX)
                return NULL;
        memcpy(buf, name, n + 1);
        return worker_name_is_valid(buf) ? buf : NULL;
}

/* From "DIR/NAME" with "../X" to "X", as "docker save" writes them. */
static char *link_target(const char *name, const char *target) {
        const char *slash = strrchr(name, '/'), *rest = startswith(target, "../");

        if (!rest)
                return slash ? strprintf("%.*s/%s", (int) (slash - name), name, target) : strdup(target);
        return strdup(rest);
}

static int take_link(Index *x, struct archive_entry *entry, Item *i) {
        const char *link = archive_entry_hardlink(entry), *target = archive_entry_symlink(entry);

        if (link)
                i->link = strdup(startswith(link, "./") ?: link);
        else
                i->link = link_target(i->name, strempty(target));
        return i->link ? 0 : -ENOMEM;
}

static int take(Index *x, struct archive *a, struct archive_entry *entry) {
        const char *path = strempty(archive_entry_pathname(entry));
        bool link = archive_entry_hardlink(entry) || archive_entry_filetype(entry) == S_IFLNK;
        int64_t size = archive_entry_size(entry);
        Item *i;

        if (!link && archive_entry_filetype(entry) == S_IFDIR)
                return 0;
        if (!link && (archive_entry_filetype(entry) != S_IFREG || archive_entry_sparse_count(entry) > 0 ||
                                     size < 0))
                return refuse(x, path, "is not a plain file");
        if (x->n == WORKER_ENTRIES_MAX) {
                x->why = strprintf("The archive holds more than %u files.", WORKER_ENTRIES_MAX);
                return x->why ? -EDQUOT : -ENOMEM;
        }
        i = &x->items[x->n];
        *i = (Item){ .offset = (uint64_t) archive_filter_bytes(a, 0), .size = link ? 0 : (uint64_t) size };
        if (!clean_name(path, i->name))
                return refuse(x, path, "has a name that none of an image has");
        if (i->size > x->end || i->offset > x->end - i->size)
                return say(x, "The archive was cut short.");
        x->n++;
        return link ? take_link(x, entry, i) : 0;
}

static int compare_items(const void *a, const void *b) {
        return strcmp(((const Item *) a)->name, ((const Item *) b)->name);
}

/* Two of a name: two readers would see two images. */
static int check_names(Index *x) {
        qsort(x->items, x->n, sizeof(Item), compare_items);
        for (uint32_t i = 1; i < x->n; i++)
                if (streq(x->items[i - 1].name, x->items[i].name))
                        return refuse(x, x->items[i].name, "is there twice");
        return 0;
}

static const Item *resolve(const Index *x, const Item *i) {
        Item key;

        /* One link to a file, none to a link. */
        if (!i->link)
                return i;
        if (!clean_name(i->link, key.name))
                return NULL;
        i = bsearch(&key, x->items, x->n, sizeof(Item), compare_items);
        return i && !i->link ? i : NULL;
}

static int read_entries(Index *x, struct archive *a) {
        struct archive_entry *entry;
        int r;

        for (;;) {
                r = archive_read_next_header(a, &entry);
                if (r == ARCHIVE_EOF)
                        return 0;
                if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
                        _cleanup_free_ char *quoted = name_quote(strempty(archive_error_string(a)));

                        x->why = quoted ? strprintf("The archive cannot be read: %s.", quoted) : NULL;
                        return x->why ? -EBADMSG : -ENOMEM;
                }
                r = take(x, a, entry);
                if (r < 0)
                        return r;
        }
}

static int tell(const Index *x, archive_entry_t entry, void *userdata) {
        int r = 0;

        for (uint32_t i = 0; r >= 0 && i < x->n; i++) {
                const Item *target = resolve(x, &x->items[i]);

                if (target)
                        r = entry(target->offset, target->size, x->items[i].name, userdata);
        }
        return r;
}

/* In place means: as it is. */
static int check_file(Index *x) {
        static const char *const magics[] = { "\x1f\x8b", "BZh",
                "\xfd"
                "7zXZ",
                "\x28\xb5\x2f\xfd", "\x04\x22\x4d\x18" };
        char begin[8] = {};
        struct stat st;

        if (fstat(x->fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode))
                return say(x, "The archive is not a file.");
        x->end = (uint64_t) st.st_size;
        if (pread(x->fd, begin, sizeof(begin) - 1, 0) < 0)
                return negative_errno();
        for (size_t i = 0; i < ELEMENTSOF(magics); i++)
                if (startswith(begin, magics[i]))
                        return say(x, "The archive is compressed: an archive of an image has to be a plain tar.");
        return 0;
}

static int read_archive(Index *x) {
        _cleanup_(archive_freep) struct archive *a = archive_read_new();

        if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK ||
                        archive_read_set_read_callback(a, on_read) != ARCHIVE_OK ||
                        archive_read_set_skip_callback(a, on_skip) != ARCHIVE_OK ||
                        archive_read_set_callback_data(a, x) != ARCHIVE_OK)
                return -ENOMEM;
        if (archive_read_open1(a) != ARCHIVE_OK)
                return say(x, "The archive cannot be read.");
        return read_entries(x, a);
}

int archive_index(int fd, archive_entry_t entry, void *userdata, uint32_t *ret_n, char **ret_why) {
        _cleanup_(index_freep) Index *x = new0(Index, 1);
        int r;

        *ret_why = NULL;
        if (!x)
                return -ENOMEM;
        x->fd = fd;
        x->items = new0(Item, WORKER_ENTRIES_MAX);
        r = x->items ? check_file(x) : -ENOMEM;
        if (r >= 0)
                r = read_archive(x);
        if (r >= 0)
                r = check_names(x);
        if (r >= 0)
                r = tell(x, entry, userdata);
        *ret_why = x->why;
        *ret_n = x->n;
        return r;
}
