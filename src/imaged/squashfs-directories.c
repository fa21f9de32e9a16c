/* SPDX-License-Identifier: Apache-2.0 */

/* Directories of a SquashFS, see the header. Owned by a writer.
 *
 * A listing is a sequence of runs: a header, and up to 256 entries whose inodes are in the same block of the
 * inode table and have numbers close to each other. Listings lie one behind the other in blocks of 8 KiB,
 * each compressed. Where a listing is longer than a basic inode can say, the extended one has an index:
 * which name the first run of a block begins with, so that the kernel, looking for a name, reads one block
 * and not all before it. */

#include "imaged/squashfs-directories.h"

#include <endian.h>
#include <sqfs/block.h>
#include <sqfs/dir.h>
#include <sqfs/error.h>
#include <sqfs/meta_writer.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"

/* The kernel counts the "." and ".." that are in no listing as 3 bytes. */
#define DOTS_SIZE 3u

typedef struct IndexEntry {
        uint32_t position; /* in the listing */
        uint32_t block;    /* in the table */
        const TreeNode *first;
} IndexEntry;

struct SquashfsDirectories {
        SquashfsMemory memory;
        sqfs_meta_writer_t *table;

        /* Of the directory at hand. */
        IndexEntry *index;
        size_t n_index, n_index_allocated;
        sqfs_u64 block; /* that the last run began in */
        uint64_t size;  /* of the listing */
};

int squashfs_directories_new(sqfs_compressor_t *compressor, SquashfsDirectories **ret) {
        SquashfsDirectories *d;

        d = new0(SquashfsDirectories, 1);
        if (!d)
                return SQFS_ERROR_ALLOC;
        squashfs_memory_init(&d->memory);
        d->table = sqfs_meta_writer_create(&d->memory.base, compressor, 0);
        if (!d->table) {
                free(d);
                return SQFS_ERROR_ALLOC;
        }
        *ret = d;
        return 0;
}

SquashfsDirectories *squashfs_directories_free(SquashfsDirectories *d) {
        if (!d)
                return NULL;
        sqfs_destroy(d->table);
        squashfs_memory_done(&d->memory);
        free(d->index);
        return mfree(d);
}

/* Directory entries have the basic types, whatever the inodes are. */
static uint16_t type_of(mode_t mode) {
        switch (mode & S_IFMT) {
        case S_IFDIR:
                return SQFS_INODE_DIR;
        case S_IFREG:
                return SQFS_INODE_FILE;
        case S_IFLNK:
                return SQFS_INODE_SLINK;
        case S_IFBLK:
                return SQFS_INODE_BDEV;
        case S_IFCHR:
                return SQFS_INODE_CDEV;
        case S_IFIFO:
                return SQFS_INODE_FIFO;
        default:
                return SQFS_INODE_SOCKET;
        }
}

/* May the inodes be under one header? */
static bool are_close(const TreeInode *a, const TreeInode *b) {
        int64_t difference = (int64_t) b->number - a->number;

        return a->location >> 16 == b->location >> 16 && difference >= INT16_MIN && difference <= INT16_MAX;
}

/* How many entries go under a header at this offset in a block. Not into the next block, where a run of its
 * own can be in the index. */
static uint32_t run_length(const TreeNode *first, uint32_t offset) {
        size_t size = (offset + sizeof(sqfs_dir_header_t)) % SQFS_META_BLOCK_SIZE;
        uint32_t n = 0;

        for (const TreeNode *c = first; c && n < SQFS_MAX_DIR_ENT; c = c->sibling) {
                if (!c->inode)
                        continue;
                size += sizeof(sqfs_dir_entry_t) + strlen(c->name);
                if (!are_close(first->inode, c->inode) || (n > 0 && size > SQFS_META_BLOCK_SIZE))
                        break;
                n++;
        }
        return n;
}

static int append(SquashfsDirectories *d, const void *p, size_t n) {
        d->size += n;
        return sqfs_meta_writer_append(d->table, p, n);
}

static int append_entry(SquashfsDirectories *d, const TreeNode *first, const TreeNode *n) {
        size_t length = strlen(n->name);
        const sqfs_dir_entry_t e = {
                .offset = htole16((uint16_t) n->inode->location),
                .inode_diff = (sqfs_s16) htole16((uint16_t) (n->inode->number - first->inode->number)),
                .type = htole16(type_of(n->inode->mode)),
                .size = htole16((uint16_t) (length - 1)),
        };

        return append(d, &e, sizeof(e)) ?: append(d, n->name, length);
}

/* The listing begins where the inode says; nobody needs an index for that. More than the inode can count are
 * left out: from the last one on the kernel just reads. */
static int index_run(SquashfsDirectories *d, const TreeNode *first, sqfs_u64 block) {
        if (block == d->block || d->n_index == UINT16_MAX)
                return 0;
        if (block > UINT32_MAX || d->size > UINT32_MAX - DOTS_SIZE)
                return SQFS_ERROR_INTERNAL;
        if (!GREEDY_REALLOC(d->index, d->n_index_allocated, d->n_index + 1))
                return SQFS_ERROR_ALLOC;
        d->index[d->n_index++] = (IndexEntry){
                .position = (uint32_t) d->size,
                .block = (uint32_t) block,
                .first = first,
        };
        d->block = block;
        return 0;
}

/* Moves *node behind the run. */
static int append_run(SquashfsDirectories *d, const TreeNode **node) {
        const TreeNode *first = *node;
        sqfs_dir_header_t header;
        sqfs_u32 offset;
        sqfs_u64 block;
        uint32_t n;
        int r;

        sqfs_meta_writer_get_position(d->table, &block, &offset);
        n = run_length(first, offset);
        header = (sqfs_dir_header_t){
                .count = htole32(n - 1),
                .start_block = htole32((uint32_t) (first->inode->location >> 16)),
                .inode_number = htole32(first->inode->number),
        };
        r = index_run(d, first, block) ?: append(d, &header, sizeof(header));
        for (; !r && n > 0; *node = (*node)->sibling)
                if ((*node)->inode) {
                        r = append_entry(d, first, *node);
                        n--;
                }
        return r;
}

static void put_index(const SquashfsDirectories *d, sqfs_inode_generic_t *inode) {
        sqfs_u8 *p = (sqfs_u8 *) inode->extra;

        for (size_t i = 0; i < d->n_index; i++) {
                const IndexEntry *e = &d->index[i];
                size_t length = strlen(e->first->name);
                /* Of the machine's byte order, as all inodes the library is given. */
                const sqfs_dir_index_t x = {
                        .index = e->position,
                        .start_block = e->block,
                        .size = (sqfs_u32) (length - 1),
                };

                memcpy(p, &x, sizeof(x));
                memcpy(p + sizeof(x), e->first->name, length);
                p += sizeof(x) + length;
        }
        inode->payload_bytes_available = inode->payload_bytes_used =
                        (sqfs_u32) (p - (sqfs_u8 *) inode->extra);
}

static int make_inode(const SquashfsDirectories *d, const sqfs_inode_dir_ext_t *attributes,
                sqfs_inode_generic_t **ret) {
        sqfs_inode_generic_t *inode;
        size_t n = 0;

        for (size_t i = 0; i < d->n_index; i++)
                n += sizeof(sqfs_dir_index_t) + strlen(d->index[i].first->name);
        inode = calloc(1, sizeof(*inode) + n);
        if (!inode)
                return SQFS_ERROR_ALLOC;
        if (attributes->size > UINT16_MAX || attributes->xattr_idx != TREE_NO_XATTRS) {
                inode->base.type = SQFS_INODE_EXT_DIR;
                inode->data.dir_ext = *attributes;
                put_index(d, inode);
        } else {
                inode->base.type = SQFS_INODE_DIR;
                inode->data.dir = (sqfs_inode_dir_t){
                        .start_block = attributes->start_block,
                        .nlink = attributes->nlink,
                        .size = (sqfs_u16) attributes->size,
                        .offset = attributes->offset,
                        .parent_inode = attributes->parent_inode,
                };
        }
        *ret = inode;
        return 0;
}

static uint32_t count_links(const TreeNode *directory) {
        uint32_t n = 2;

        for (const TreeNode *c = directory->first_child; c; c = c->sibling)
                n += c->inode && S_ISDIR(c->inode->mode);
        return n;
}

static int append_listing(SquashfsDirectories *d, const TreeNode *directory, sqfs_u64 block) {
        int r = 0;

        d->n_index = 0;
        d->block = block;
        d->size = 0;
        for (const TreeNode *c = directory->first_child; !r && c;)
                if (c->inode)
                        r = append_run(d, &c);
                else
                        c = c->sibling;
        if (!r && (block > UINT32_MAX || d->size > UINT32_MAX - DOTS_SIZE))
                return SQFS_ERROR_INTERNAL;
        return r;
}

int squashfs_directories_add(SquashfsDirectories *d, const TreeNode *directory, uint32_t parent_number,
                sqfs_inode_generic_t **ret) {
        sqfs_inode_dir_ext_t attributes;
        sqfs_u64 block;
        sqfs_u32 offset;
        int r;

        sqfs_meta_writer_get_position(d->table, &block, &offset);
        r = append_listing(d, directory, block);
        if (r)
                return r;
        attributes = (sqfs_inode_dir_ext_t){
                .nlink = count_links(directory),
                .size = (sqfs_u32) d->size + DOTS_SIZE,
                .start_block = (sqfs_u32) block,
                .parent_inode = parent_number,
                .inodex_count = (sqfs_u16) d->n_index,
                .offset = (sqfs_u16) offset,
                .xattr_idx = directory->inode->xattrs,
        };
        return make_inode(d, &attributes, ret);
}

int squashfs_directories_write(SquashfsDirectories *d, SquashfsFile *file) {
        return sqfs_meta_writer_flush(d->table) ?: squashfs_memory_move(&d->memory, file);
}
