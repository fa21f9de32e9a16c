/* SPDX-License-Identifier: Apache-2.0 */

/* SquashFS out of a Tree and streams of data, see the header. Owned by the worker's import. */

#include "imaged/squashfs-writer.h"

#include <sqfs/block.h>
#include <sqfs/block_processor.h>
#include <sqfs/block_writer.h>
#include <sqfs/compressor.h>
#include <sqfs/dir_writer.h>
#include <sqfs/error.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>
#include <sqfs/super.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_writer.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define BLOCK_SIZE 131072u
/* A Debian tar of 343 MB becomes 169 MB with lz4 in 1.1 s, 126 MB with zstd (level 3) in 2.3 s; a guest
 * under TCG reads 80 MB of it in 5.7 s and 8.5 s. The image is there once for all VMs, the reading is done
 * by each. */
#define COMPRESSOR SQFS_COMP_LZ4
#define DEVICE_BLOCK_SIZE 4096u
/* Blocks in flight per thread: enough to keep the threads busy, 128 KiB each. */
#define BACKLOG 16u

/* libsquashfs's view of our fd; it wants an interface, and a path only for its own implementation. */
typedef struct OutputFile {
        sqfs_file_t base;
        int fd;
        int error; /* what the last failure was, for the library says only "I/O error" */
        uint64_t size;
} OutputFile;

/* libsquashfs's compressor, corrected: that of lz4 (1.2.0) also returns blocks that became larger and ought
 * to be stored as they are. The kernel reads them all the same, unsquashfs does not. */
typedef struct Compressor {
        sqfs_compressor_t base;
        sqfs_compressor_t *inner;
} Compressor;

struct SquashfsWriter {
        OutputFile file;
        sqfs_super_t super;
        sqfs_compressor_t *compressor, *uncompressor;
        sqfs_block_writer_t *blocks;
        sqfs_frag_table_t *fragments;
        sqfs_block_processor_t *processor;
        sqfs_id_table_t *ids;
        sqfs_xattr_writer_t *xattrs;
        sqfs_meta_writer_t *inode_table, *directory_table;
        sqfs_dir_writer_t *directories;
        TreeInode **files; /* their data is the library's, freed with the writer */
        size_t n_files, n_allocated;
};

static int output_read_at(sqfs_file_t *base, sqfs_u64 offset, void *buffer, size_t size) {
        OutputFile *f = (OutputFile *) base;
        char *p = buffer;

        while (size > 0) {
                ssize_t n = pread(f->fd, p, size, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        f->error = n < 0 ? negative_errno() : -EIO;
                        return SQFS_ERROR_IO;
                }
                p += n;
                offset += (sqfs_u64) n;
                size -= (size_t) n;
        }
        return 0;
}

static int output_write_at(sqfs_file_t *base, sqfs_u64 offset, const void *buffer, size_t size) {
        OutputFile *f = (OutputFile *) base;
        const char *p = buffer;

        while (size > 0) {
                ssize_t n = pwrite(f->fd, p, size, (off_t) offset);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        f->error = negative_errno();
                        return SQFS_ERROR_IO;
                }
                p += n;
                offset += (sqfs_u64) n;
                size -= (size_t) n;
        }
        f->size = MAX2(f->size, offset);
        return 0;
}

static sqfs_u64 output_get_size(const sqfs_file_t *base) {
        return ((const OutputFile *) base)->size;
}

static int output_truncate(sqfs_file_t *base, sqfs_u64 size) {
        OutputFile *f = (OutputFile *) base;

        if (ftruncate(f->fd, (off_t) size) < 0) {
                f->error = negative_errno();
                return SQFS_ERROR_IO;
        }
        f->size = size;
        return 0;
}

/* The file is a part of the writer. */
static void output_destroy(sqfs_object_t *base) {
}

static void compressor_get_configuration(const sqfs_compressor_t *base, sqfs_compressor_config_t *ret) {
        const Compressor *c = (const Compressor *) base;

        c->inner->get_configuration(c->inner, ret);
}

static int compressor_write_options(sqfs_compressor_t *base, sqfs_file_t *file) {
        Compressor *c = (Compressor *) base;

        return c->inner->write_options(c->inner, file);
}

static int compressor_read_options(sqfs_compressor_t *base, sqfs_file_t *file) {
        Compressor *c = (Compressor *) base;

        return c->inner->read_options(c->inner, file);
}

static sqfs_s32 compressor_do_block(
                sqfs_compressor_t *base, const sqfs_u8 *in, sqfs_u32 size, sqfs_u8 *out, sqfs_u32 out_size) {
        Compressor *c = (Compressor *) base;
        sqfs_s32 n;

        n = c->inner->do_block(c->inner, in, size, out, out_size);
        return n > 0 && (sqfs_u32) n >= size ? 0 : n;
}

static void compressor_destroy(sqfs_object_t *base) {
        Compressor *c = (Compressor *) base;

        sqfs_destroy(c->inner);
        free(c);
}

static sqfs_compressor_t *compressor_wrap(sqfs_compressor_t *inner);

/* One for each thread. */
static sqfs_object_t *compressor_copy(const sqfs_object_t *base) {
        return (sqfs_object_t *) compressor_wrap(sqfs_copy(((const Compressor *) base)->inner));
}

/* Takes inner over; NULL on ENOMEM. */
static sqfs_compressor_t *compressor_wrap(sqfs_compressor_t *inner) {
        Compressor *c;

        c = inner ? new (Compressor, 1) : NULL;
        if (!c) {
                sqfs_destroy(inner);
                return NULL;
        }
        *c = (Compressor) {
                .base = {
                        .base = { .destroy = compressor_destroy, .copy = compressor_copy },
                        .get_configuration = compressor_get_configuration,
                        .write_options = compressor_write_options,
                        .read_options = compressor_read_options,
                        .do_block = compressor_do_block,
                },
                .inner = inner,
        };
        return &c->base;
}

static int compressor_new(sqfs_u16 flags, sqfs_compressor_t **ret) {
        sqfs_compressor_config_t config;
        sqfs_compressor_t *inner;
        int r;

        r = sqfs_compressor_config_init(&config, COMPRESSOR, BLOCK_SIZE, flags);
        if (!r)
                r = sqfs_compressor_create(&config, &inner);
        if (r)
                return r;
        *ret = flags & SQFS_COMP_FLAG_UNCOMPRESS ? inner : compressor_wrap(inner);
        return *ret ? 0 : SQFS_ERROR_ALLOC;
}

/* With a file to read back from: what has the same hash of 32 bits need not be the same. Without one the
 * library takes it for the same, and of 200,000 small files a handful come out with the contents of another.
 */
static int processor_new(SquashfsWriter *w, unsigned n_threads) {
        const sqfs_block_processor_desc_t desc = {
                .size = sizeof(desc),
                .max_block_size = BLOCK_SIZE,
                .num_workers = n_threads,
                .max_backlog = n_threads * BACKLOG,
                .cmp = w->compressor,
                .wr = w->blocks,
                .tbl = w->fragments,
                .file = &w->file.base,
                .uncmp = w->uncompressor,
        };

        return sqfs_block_processor_create_ex(&desc, &w->processor);
}

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

static int writer_start(SquashfsWriter *w, unsigned n_threads) {
        int r;

        r = compressor_new(0, &w->compressor);
        if (!r)
                r = compressor_new(SQFS_COMP_FLAG_UNCOMPRESS, &w->uncompressor);
        if (!r)
                r = sqfs_super_init(&w->super, BLOCK_SIZE, 0, COMPRESSOR);
        if (!r)
                r = sqfs_super_write(&w->super, &w->file.base);
        if (r)
                return r;
        r = w->compressor->write_options(w->compressor, &w->file.base);
        if (r < 0)
                return r;
        if (r > 0)
                w->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;

        w->blocks = sqfs_block_writer_create(&w->file.base, DEVICE_BLOCK_SIZE, 0);
        w->fragments = sqfs_frag_table_create(0);
        w->ids = sqfs_id_table_create(0);
        w->xattrs = sqfs_xattr_writer_create(0);
        w->inode_table = sqfs_meta_writer_create(&w->file.base, w->compressor, 0);
        w->directory_table = sqfs_meta_writer_create(
                        &w->file.base, w->compressor, SQFS_META_WRITER_KEEP_IN_MEMORY);
        if (!w->blocks || !w->fragments || !w->ids || !w->xattrs || !w->inode_table || !w->directory_table)
                return SQFS_ERROR_ALLOC;
        w->directories = sqfs_dir_writer_create(w->directory_table, 0);
        if (!w->directories)
                return SQFS_ERROR_ALLOC;
        return processor_new(w, n_threads);
}

int squashfs_writer_new(int fd, unsigned n_threads, SquashfsWriter **ret) {
        _cleanup_(squashfs_writer_freep) SquashfsWriter *w = NULL;
        int r;

        w = new (SquashfsWriter, 1);
        if (!w)
                return -ENOMEM;
        *w = (SquashfsWriter) {
                .file = {
                        .base = {
                                .base.destroy = output_destroy,
                                .read_at = output_read_at,
                                .write_at = output_write_at,
                                .get_size = output_get_size,
                                .truncate = output_truncate,
                        },
                        .fd = fd,
                },
        };
        r = writer_start(w, MAX2(n_threads, 1u));
        if (r)
                return writer_error(w, r);
        *ret = TAKE_PTR(w);
        return 0;
}

SquashfsWriter *squashfs_writer_free(SquashfsWriter *w) {
        if (!w)
                return NULL;
        /* The processor first: its threads work on all the others. */
        sqfs_destroy(w->processor);
        sqfs_destroy(w->directories);
        sqfs_destroy(w->directory_table);
        sqfs_destroy(w->inode_table);
        sqfs_destroy(w->xattrs);
        sqfs_destroy(w->ids);
        sqfs_destroy(w->fragments);
        sqfs_destroy(w->blocks);
        sqfs_destroy(w->uncompressor);
        sqfs_destroy(w->compressor);
        for (size_t i = 0; i < w->n_files; i++)
                sqfs_free(w->files[i]->data);
        free(w->files);
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

int squashfs_writer_file_begin(SquashfsWriter *w, TreeInode *inode) {
        if (!GREEDY_REALLOC(w->files, w->n_allocated, w->n_files + 1))
                return -ENOMEM;
        w->files[w->n_files++] = inode;
        /* The library keeps the address of inode->data, and moves what it points to as the file grows. */
        return writer_error(w, sqfs_block_processor_begin_file(w->processor,
                                               (sqfs_inode_generic_t **) &inode->data, NULL, 0));
}

int squashfs_writer_file_data(SquashfsWriter *w, const void *data, size_t size) {
        return writer_error(w, sqfs_block_processor_append(w->processor, data, size));
}

int squashfs_writer_file_hole(SquashfsWriter *w, uint64_t size) {
        static const char zeros[BLOCK_SIZE];
        int r;

        /* Blocks of zeros are found by the library and take no place. */
        while (size > 0) {
                size_t n = (size_t) MIN2(size, (uint64_t) sizeof(zeros));

                r = squashfs_writer_file_data(w, zeros, n);
                if (r < 0)
                        return r;
                size -= n;
        }
        return 0;
}

int squashfs_writer_file_end(SquashfsWriter *w) {
        return writer_error(w, sqfs_block_processor_end_file(w->processor));
}

static int compare_names(const void *a, const void *b) {
        return strcmp((*(TreeNode *const *) a)->name, (*(TreeNode *const *) b)->name);
}

/* The kernel looks names up in an order by bytes. */
static int sorted_children(const TreeNode *n, TreeNode ***ret) {
        TreeNode **children;
        size_t k = 0;

        children = new (TreeNode *, MAX2(n->n_children, 1u));
        if (!children)
                return -ENOMEM;
        for (TreeNode *c = n->first_child; c; c = c->sibling)
                children[k++] = c;
        qsort(children, k, sizeof(TreeNode *), compare_names);
        *ret = children;
        return 0;
}

static int directory_inode(
                SquashfsWriter *w, const TreeNode *n, uint32_t parent_number, sqfs_inode_generic_t **ret) {
        _cleanup_free_ TreeNode **children = NULL;
        uint32_t n_links = 2;
        int r;

        if (sorted_children(n, &children) < 0)
                return SQFS_ERROR_ALLOC;
        r = sqfs_dir_writer_begin(w->directories, 0);
        for (uint32_t i = 0; !r && i < n->n_children; i++) {
                const TreeInode *c = children[i]->inode;

                n_links += S_ISDIR(c->mode);
                r = sqfs_dir_writer_add_entry(w->directories, children[i]->name, c->number, c->location,
                                (sqfs_u16) c->mode);
        }
        if (!r)
                r = sqfs_dir_writer_end(w->directories);
        if (r)
                return r;
        *ret = sqfs_dir_writer_create_inode(w->directories, 0, n->inode->xattrs, parent_number);
        if (!*ret)
                return SQFS_ERROR_ALLOC;
        if ((*ret)->base.type == SQFS_INODE_DIR)
                (*ret)->data.dir.nlink = n_links;
        else
                (*ret)->data.dir_ext.nlink = n_links;
        return 0;
}

static int file_inode(TreeInode *i, sqfs_inode_generic_t **ret) {
        sqfs_inode_generic_t *inode = i->data;
        int r;

        if (!inode)
                return SQFS_ERROR_INTERNAL;
        if (i->n_links > 1) {
                r = sqfs_inode_make_extended(inode);
                if (r)
                        return r;
        }
        if (inode->base.type == SQFS_INODE_EXT_FILE)
                inode->data.file_ext.nlink = i->n_links;
        *ret = inode;
        return 0;
}

static int special_inode(const TreeInode *i, sqfs_inode_generic_t **ret) {
        size_t n = i->target ? strlen(i->target) : 0;
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
                memcpy(inode->extra, strempty(i->target), n);
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

static int write_node(SquashfsWriter *w, TreeNode *n, uint32_t root_parent) {
        sqfs_inode_generic_t *inode = NULL;
        TreeInode *i = n->inode;
        int r;

        if (i->location != UINT64_MAX) /* by another of its names */
                return 0;
        if (S_ISDIR(i->mode))
                r = directory_inode(w, n, n->parent ? n->parent->inode->number : root_parent, &inode);
        else if (S_ISREG(i->mode))
                r = file_inode(i, &inode);
        else
                r = special_inode(i, &inode);
        if (!r)
                r = write_inode(w, i, inode);
        if (inode && !S_ISREG(i->mode))
                sqfs_free(inode);
        return r;
}

/* Numbers from 1, in the order of the archive. */
static uint32_t number_inodes(Tree *t) {
        uint32_t number = 0;

        for (TreeInode *i = tree_inodes(t); i; i = i->next) {
                i->number = 0;
                i->location = UINT64_MAX;
        }
        for (TreeNode *n = tree_root(t); n; n = n->next)
                if (n->inode->number == 0)
                        n->inode->number = ++number;
        return number;
}

static int write_tree(SquashfsWriter *w, Tree *t) {
        int r;

        w->super.inode_count = number_inodes(t);
        w->super.inode_table_start = w->file.size;
        /* Backwards, so that what a directory refers to is written before it. */
        for (TreeNode *n = tree_last(t); n; n = n->previous) {
                r = write_node(w, n, w->super.inode_count + 1);
                if (r)
                        return r;
        }
        w->super.root_inode_ref = tree_root(t)->inode->location;
        r = sqfs_meta_writer_flush(w->inode_table);
        if (!r)
                r = sqfs_meta_writer_flush(w->directory_table);
        if (r)
                return r;
        w->super.directory_table_start = w->file.size;
        return sqfs_meta_write_write_to_file(w->directory_table);
}

/* A block device has whole sectors; a loop device shows no last part of one. */
static int pad(SquashfsWriter *w) {
        uint64_t size = (w->super.bytes_used + DEVICE_BLOCK_SIZE - 1) / DEVICE_BLOCK_SIZE *
                        DEVICE_BLOCK_SIZE;

        return output_truncate(&w->file.base, size);
}

int squashfs_writer_finish(SquashfsWriter *w, Tree *t) {
        int r;

        r = sqfs_block_processor_finish(w->processor);
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
