/* SPDX-License-Identifier: Apache-2.0 */

/* SquashFS out of a Tree and streams of data, see the header. Owned by the worker's import. */

#include "imaged/squashfs-writer.h"

#include <sqfs/error.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/meta_writer.h>
#include <sqfs/super.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_writer.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/arena.h"
#include "imaged/block-pipeline.h"
#include "imaged/squashfs-compressor.h"
#include "imaged/squashfs-directories.h"
#include "imaged/squashfs-file.h"

#define BLOCK_SIZE SQUASHFS_BLOCK_SIZE
#define DEVICE_BLOCK_SIZE 4096u
#define NO_FRAGMENT UINT32_MAX
#define IN_BLOCKS UINT32_MAX /* TreeInode.data_size: data is a FileBlocks, else fragment << 32 | offset */

/* Where the contents of a file are that has a block or more. Smaller ones lie together in blocks, called
 * fragments. */
typedef struct FileBlocks {
        uint64_t size, start, sparse;
        uint32_t n, sizes[];
} FileBlocks;

struct SquashfsWriter {
        SquashfsFile file;
        sqfs_super_t super;
        sqfs_compressor_t *compressor;
        BlockPipeline *pipeline;
        sqfs_frag_table_t *fragments;
        sqfs_id_table_t *ids;
        sqfs_xattr_writer_t *xattrs;
        sqfs_meta_writer_t *inode_table;
        SquashfsDirectories *directories;
        uint64_t data_start;
        uint32_t n_inodes; /* written */
        Arena arena;       /* of FileBlocks */

        uint8_t *fragment; /* that is being filled */
        uint32_t fragment_used, n_fragments;
        int fragment_error;

        /* The file at hand. */
        uint64_t n_missing; /* bytes */
        FileBlocks *blocks; /* NULL: it goes into the fragment */
        uint32_t n_blocks, block_used;
};

static int writer_error(SquashfsWriter *w, int r) {
        switch (r) {
        case 0:
                return 0;
        case SQFS_ERROR_ALLOC:
                return -ENOMEM;
        case SQFS_ERROR_IO:
                return w->file.error < 0 ? w->file.error : -EIO;
        case SQFS_ERROR_OVERFLOW:
                return -EOVERFLOW;
        case SQFS_ERROR_ARG_INVALID:
                return -EINVAL;
        default:
                return -EIO;
        }
}

static int create_tables(SquashfsWriter *w) {
        w->fragments = sqfs_frag_table_create(0);
        w->ids = sqfs_id_table_create(0);
        w->xattrs = sqfs_xattr_writer_create(0);
        w->inode_table = sqfs_meta_writer_create(&w->file.base, w->compressor, 0);
        if (!w->fragments || !w->ids || !w->xattrs || !w->inode_table)
                return SQFS_ERROR_ALLOC;
        return squashfs_directories_new(w->compressor, &w->directories);
}

static int writer_start(SquashfsWriter *w, unsigned n_threads) {
        int r;

        r = squashfs_compressor_new(&w->compressor);
        if (!r)
                r = sqfs_super_init(&w->super, BLOCK_SIZE, 0, SQUASHFS_COMPRESSOR);
        if (!r)
                r = sqfs_super_write(&w->super, &w->file.base);
        if (r)
                return r;
        r = w->compressor->write_options(w->compressor, &w->file.base);
        if (r < 0)
                return r;
        if (r > 0)
                w->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
        w->data_start = w->file.size;
        w->fragment = malloc(BLOCK_SIZE);
        if (!w->fragment)
                return SQFS_ERROR_ALLOC;
        return create_tables(w) ?: block_pipeline_new(&w->file, w->compressor, n_threads, &w->pipeline);
}

int squashfs_writer_new(int fd, unsigned n_threads, SquashfsWriter **ret) {
        _cleanup_(squashfs_writer_freep) SquashfsWriter *w = NULL;
        int r;

        w = new0(SquashfsWriter, 1);
        if (!w)
                return -ENOMEM;
        squashfs_file_init(&w->file, fd);
        r = writer_start(w, MAX2(n_threads, 1u));
        if (r)
                return writer_error(w, r);
        *ret = TAKE_PTR(w);
        return 0;
}

SquashfsWriter *squashfs_writer_free(SquashfsWriter *w) {
        if (!w)
                return NULL;
        /* First: its threads work on the others. */
        block_pipeline_free(w->pipeline);
        squashfs_directories_free(w->directories);
        sqfs_destroy(w->inode_table);
        sqfs_destroy(w->xattrs);
        sqfs_destroy(w->ids);
        sqfs_destroy(w->fragments);
        sqfs_destroy(w->compressor);
        arena_done(&w->arena);
        free(w->fragment);
        return mfree(w);
}

int squashfs_writer_xattrs_begin(SquashfsWriter *w) {
        return writer_error(w, sqfs_xattr_writer_begin(w->xattrs, 0));
}

int squashfs_writer_xattr_add(SquashfsWriter *w, const char *name, const void *value, size_t size) {
        int r;

        r = sqfs_xattr_writer_add(w->xattrs, name, value, size);
        if (r == SQFS_ERROR_UNSUPPORTED)
                return 0;
        return r ? writer_error(w, r) : 1;
}

int squashfs_writer_xattrs_end(SquashfsWriter *w, uint32_t *ret) {
        return writer_error(w, sqfs_xattr_writer_end(w->xattrs, ret));
}

static void on_block(void *token, uint32_t index, uint64_t location, uint32_t stored, uint32_t size) {
        FileBlocks *b = token;

        b->sizes[index] = stored;
        if (stored == 0)
                b->sparse += size;
        else if (b->start == 0)
                b->start = location;
}

static void on_fragment(void *token, uint32_t index, uint64_t location, uint32_t stored, uint32_t size) {
        SquashfsWriter *w = token;
        sqfs_u32 i;
        int r;

        r = sqfs_frag_table_append(w->fragments, location, stored, &i);
        if (r || i != index)
                w->fragment_error = r ?: SQFS_ERROR_INTERNAL;
}

/* Between two files, for the blocks of one must lie together. */
static int flush_fragment(SquashfsWriter *w) {
        uint32_t n = w->fragment_used;

        if (n == 0)
                return 0;
        w->fragment_used = 0;
        block_pipeline_swap_buffer(w->pipeline, &w->fragment);
        return block_pipeline_submit(w->pipeline, n, false, on_fragment, w, w->n_fragments++);
}

static int begin_small(SquashfsWriter *w, TreeInode *inode, uint32_t size) {
        int r = 0;

        if (size > BLOCK_SIZE - w->fragment_used)
                r = flush_fragment(w);
        inode->data_size = size;
        inode->data = (uint64_t) w->n_fragments << 32 | w->fragment_used;
        return r;
}

static int begin_blocks(SquashfsWriter *w, TreeInode *inode, uint64_t size) {
        uint64_t n = (size + BLOCK_SIZE - 1) / BLOCK_SIZE;

        if (n > UINT32_MAX)
                return SQFS_ERROR_OVERFLOW;
        w->blocks = arena_alloc(&w->arena, sizeof(FileBlocks) + n * sizeof(uint32_t));
        if (!w->blocks)
                return SQFS_ERROR_ALLOC;
        w->blocks->size = size;
        w->blocks->n = (uint32_t) n;
        inode->data_size = IN_BLOCKS;
        inode->data = (uintptr_t) w->blocks;
        return 0;
}

int squashfs_writer_file_begin(SquashfsWriter *w, TreeInode *inode, uint64_t size) {
        w->n_missing = size;
        w->blocks = NULL;
        w->n_blocks = w->block_used = 0;
        return writer_error(w, size < BLOCK_SIZE ? begin_small(w, inode, (uint32_t) size)
                                                 : begin_blocks(w, inode, size));
}

static int submit_block(SquashfsWriter *w) {
        uint32_t n = w->block_used;

        w->block_used = 0;
        return block_pipeline_submit(w->pipeline, n, true, on_block, w->blocks, w->n_blocks++);
}

/* From p, or zeros where that is NULL. Not more than is missing. */
static int append_to_blocks(SquashfsWriter *w, const uint8_t *p, uint64_t size) {
        int r = 0;

        while (!r && size > 0) {
                uint32_t n = (uint32_t) MIN2(size, (uint64_t) (BLOCK_SIZE - w->block_used));
                uint8_t *to = block_pipeline_buffer(w->pipeline) + w->block_used;

                if (p) {
                        memcpy(to, p, n);
                        p += n;
                } else if (n == BLOCK_SIZE) {
                        /* A whole block of a hole: no place, no work. */
                        w->blocks->sparse += n;
                        w->n_blocks++;
                        size -= n;
                        continue;
                } else
                        memset(to, 0, n);
                size -= n;
                w->block_used += n;
                if (w->block_used == BLOCK_SIZE)
                        r = submit_block(w);
        }
        return r;
}

static int append(SquashfsWriter *w, const void *p, uint64_t size) {
        if (size > w->n_missing)
                return -EINVAL;
        w->n_missing -= size;
        if (w->blocks)
                return writer_error(w, append_to_blocks(w, p, size));
        if (p)
                memcpy(w->fragment + w->fragment_used, p, size);
        else
                memset(w->fragment + w->fragment_used, 0, size);
        w->fragment_used += (uint32_t) size;
        return 0;
}

int squashfs_writer_file_data(SquashfsWriter *w, const void *data, size_t size) {
        return size > 0 ? append(w, data, size) : 0;
}

int squashfs_writer_file_hole(SquashfsWriter *w, uint64_t size) {
        return size > 0 ? append(w, NULL, size) : 0;
}

int squashfs_writer_file_end(SquashfsWriter *w) {
        if (w->n_missing > 0)
                return -EINVAL;
        return w->block_used > 0 ? writer_error(w, submit_block(w)) : 0;
}

uint64_t squashfs_writer_file_size(const TreeInode *inode) {
        return inode->data_size == IN_BLOCKS ? ((const FileBlocks *) (uintptr_t) inode->data)->size
                                             : inode->data_size;
}

int squashfs_writer_restart(SquashfsWriter *w) {
        int r;

        r = block_pipeline_flush(w->pipeline);
        if (!r)
                r = squashfs_file_truncate(&w->file, w->data_start);
        if (r)
                return writer_error(w, r);
        w->fragment_used = w->n_fragments = 0;
        sqfs_destroy(w->fragments);
        w->fragments = sqfs_frag_table_create(0);
        return w->fragments ? 0 : -ENOMEM;
}

static void fill_file(const TreeInode *i, sqfs_inode_file_ext_t *f) {
        bool fragment = i->data_size > 0 && i->data_size != IN_BLOCKS;

        *f = (sqfs_inode_file_ext_t){
                .file_size = i->data_size,
                .nlink = i->n_links,
                .fragment_idx = fragment ? (sqfs_u32) (i->data >> 32) : NO_FRAGMENT,
                .fragment_offset = fragment ? (sqfs_u32) i->data : NO_FRAGMENT,
                .xattr_idx = i->xattrs,
        };
        if (i->data_size == IN_BLOCKS) {
                const FileBlocks *b = (const FileBlocks *) (uintptr_t) i->data;

                f->file_size = b->size;
                f->blocks_start = b->start;
                f->sparse = b->sparse;
        }
}

static int file_inode(TreeInode *i, sqfs_inode_generic_t **ret) {
        const FileBlocks *b = i->data_size == IN_BLOCKS ? (const FileBlocks *) (uintptr_t) i->data : NULL;
        size_t n = b ? b->n * sizeof(sqfs_u32) : 0;
        sqfs_inode_generic_t *inode;
        sqfs_inode_file_ext_t f;

        inode = calloc(1, sizeof(*inode) + n);
        if (!inode)
                return SQFS_ERROR_ALLOC;
        fill_file(i, &f);
        if (f.nlink > 1 || f.sparse > 0 || f.xattr_idx != TREE_NO_XATTRS || f.blocks_start > UINT32_MAX ||
                        f.file_size > UINT32_MAX) {
                inode->base.type = SQFS_INODE_EXT_FILE;
                inode->data.file_ext = f;
        } else {
                inode->base.type = SQFS_INODE_FILE;
                inode->data.file = (sqfs_inode_file_t){
                        .blocks_start = (sqfs_u32) f.blocks_start,
                        .fragment_index = f.fragment_idx,
                        .fragment_offset = f.fragment_offset,
                        .file_size = (sqfs_u32) f.file_size,
                };
        }
        inode->payload_bytes_available = inode->payload_bytes_used = (sqfs_u32) n;
        if (b)
                memcpy(inode->extra, b->sizes, n);
        *ret = inode;
        return 0;
}

static int special_inode(const TreeInode *i, sqfs_inode_generic_t **ret) {
        size_t n = S_ISLNK(i->mode) ? strlen(i->target) : 0;
        sqfs_inode_generic_t *inode;

        inode = calloc(1, sizeof(*inode) + n + 1);
        if (!inode)
                return SQFS_ERROR_ALLOC;
        switch (i->mode & S_IFMT) {
        case S_IFLNK:
                inode->base.type = SQFS_INODE_SLINK;
                inode->data.slink.nlink = i->n_links;
                inode->data.slink.target_size = (sqfs_u32) n;
                inode->payload_bytes_available = inode->payload_bytes_used = (sqfs_u32) n;
                memcpy(inode->extra, i->target, n);
                break;
        case S_IFBLK:
        case S_IFCHR:
                inode->base.type = S_ISBLK(i->mode) ? SQFS_INODE_BDEV : SQFS_INODE_CDEV;
                inode->data.dev.nlink = i->n_links;
                inode->data.dev.devno = i->device;
                break;
        default:
                inode->base.type = S_ISFIFO(i->mode) ? SQFS_INODE_FIFO : SQFS_INODE_SOCKET;
                inode->data.ipc.nlink = i->n_links;
        }
        *ret = inode;
        return 0;
}

static int write_inode(SquashfsWriter *w, TreeInode *i, sqfs_inode_generic_t *inode) {
        sqfs_u64 block;
        sqfs_u32 offset;
        int r;

        inode->base.mode = (sqfs_u16) i->mode;
        inode->base.mod_time = i->mtime;
        inode->base.inode_number = i->number;
        r = sqfs_inode_set_xattr_index(inode, i->xattrs);
        if (!r)
                r = sqfs_id_table_id_to_index(w->ids, i->uid, &inode->base.uid_idx);
        if (!r)
                r = sqfs_id_table_id_to_index(w->ids, i->gid, &inode->base.gid_idx);
        if (r)
                return r;
        sqfs_meta_writer_get_position(w->inode_table, &block, &offset);
        i->location = block << 16 | offset;
        return sqfs_meta_writer_write_inode(w->inode_table, inode);
}

static int write_file_or_special(SquashfsWriter *w, TreeInode *i) {
        sqfs_inode_generic_t *inode = NULL;
        int r;

        if (i->location != UINT64_MAX) /* by another of its names */
                return 0;
        i->number = ++w->n_inodes;
        r = S_ISREG(i->mode) ? file_inode(i, &inode) : special_inode(i, &inode);
        if (!r)
                r = write_inode(w, i, inode);
        sqfs_free(inode);
        return r;
}

static int write_directory_inode(SquashfsWriter *w, TreeNode *n, uint32_t parent_number) {
        sqfs_inode_generic_t *inode;
        int r;

        r = squashfs_directories_add(w->directories, n, parent_number, &inode);
        if (r)
                return r;
        r = write_inode(w, n->inode, inode);
        sqfs_free(inode);
        return r;
}

/* What it refers to is written before it. Recursive, as deep as the tree may be. */
static int write_directory(SquashfsWriter *w, TreeNode *n, uint32_t parent_number) {
        int r;

        n->inode->number = ++w->n_inodes;
        /* The kernel looks names up in an order by bytes. */
        r = tree_sort(n) < 0 ? SQFS_ERROR_ALLOC : 0;
        for (TreeNode *c = n->first_child; !r && c; c = c->sibling)
                if (c->inode)
                        r = S_ISDIR(c->inode->mode) ? write_directory(w, c, n->inode->number)
                                                    : write_file_or_special(w, c->inode);
        return r ?: write_directory_inode(w, n, parent_number);
}

static int write_tree(SquashfsWriter *w, Tree *t) {
        int r;

        w->super.inode_count = tree_n_inodes(t);
        w->super.inode_table_start = w->file.size;
        r = write_directory(w, tree_root(t), w->super.inode_count + 1);
        if (r)
                return r;
        w->super.root_inode_ref = tree_root(t)->inode->location;
        r = sqfs_meta_writer_flush(w->inode_table);
        if (r)
                return r;
        w->super.directory_table_start = w->file.size;
        return squashfs_directories_write(w->directories, &w->file);
}

/* A block device has whole sectors; a loop device shows no last part of one. */
static int pad(SquashfsWriter *w) {
        uint64_t size = (w->super.bytes_used + DEVICE_BLOCK_SIZE - 1) / DEVICE_BLOCK_SIZE *
                        DEVICE_BLOCK_SIZE;

        return squashfs_file_truncate(&w->file, size);
}

int squashfs_writer_finish(SquashfsWriter *w, Tree *t) {
        int r;

        r = flush_fragment(w) ?: block_pipeline_flush(w->pipeline) ?: w->fragment_error;
        /* The threads are not needed any more, nor is their memory. */
        w->pipeline = block_pipeline_free(w->pipeline);
        if (!r)
                r = write_tree(w, t);
        if (!r)
                r = sqfs_frag_table_write(w->fragments, &w->file.base, &w->super, w->compressor);
        if (!r)
                r = sqfs_id_table_write(w->ids, &w->file.base, &w->super, w->compressor);
        if (!r)
                r = sqfs_xattr_writer_flush(w->xattrs, &w->file.base, &w->super, w->compressor);
        if (r)
                return writer_error(w, r);
        w->super.bytes_used = w->file.size;
        r = sqfs_super_write(&w->super, &w->file.base);
        if (!r)
                r = pad(w);
        return writer_error(w, r);
}
