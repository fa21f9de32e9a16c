/* SPDX-License-Identifier: Apache-2.0 */

/* Directories of any size, read back with libsquashfs: its reader of directories, and by hand what only the kernel uses. */

#include <endian.h>
#include <setjmp.h>
#include <sqfs/compressor.h>
#include <sqfs/dir.h>
#include <sqfs/dir_reader.h>
#include <sqfs/error.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_reader.h>
#include <sqfs/super.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/image-tree.h"
#include "imaged/squashfs-writer.h"

#define META_SIZE 8192u

typedef struct Image {
        int fd;
        Tree *tree;

        /* Once it is written. */
        sqfs_file_t *file;
        sqfs_super_t super;
        sqfs_compressor_t *compressor;
        sqfs_dir_reader_t *reader;
} Image;

static int setup(void **state) {
        static Image i;

        i = (Image) { .fd = memfd_create("squashfs", MFD_CLOEXEC) };
        assert_true(i.fd >= 0);
        assert_int_equal(tree_new(1000000, &i.tree), 0);
        *state = &i;
        return 0;
}

static int teardown(void **state) {
        Image *i = *state;

        sqfs_destroy(i->reader);
        sqfs_destroy(i->compressor);
        sqfs_destroy(i->file);
        tree_free(i->tree);
        safe_close(i->fd);
        return 0;
}

static void add(Image *i, const char *path, mode_t mode, uint32_t uid) {
        const TreeInode attributes = { .mode = mode, .uid = uid, .xattrs = TREE_NO_XATTRS };
        TreeInode *inode;
        char *why;

        assert_int_equal(tree_add(i->tree, path, &attributes, &inode, &why), 0);
}

/* In no order; lengths differ, so that blocks end anywhere. */
static void name_of(unsigned n, char ret[static 100]) {
        unsigned k = n * 2654435761u;

        (void) snprintf(ret, 100, "d/%08x%.*s", k, (int) (k % 60), "-a-name-that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on");
}

static void write_image(Image *i) {
        _cleanup_(squashfs_writer_freep) SquashfsWriter *w = NULL;
        sqfs_compressor_config_t config;
        char path[40];

        assert_int_equal(squashfs_writer_new(i->fd, 1, &w), 0);
        assert_int_equal(squashfs_writer_finish(w, i->tree), 0);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", i->fd);
        i->file = sqfs_open_file(path, SQFS_FILE_OPEN_READ_ONLY);
        assert_non_null(i->file);
        assert_int_equal(sqfs_super_read(&i->super, i->file), 0);
        sqfs_compressor_config_init(&config, i->super.compression_id, i->super.block_size, SQFS_COMP_FLAG_UNCOMPRESS);
        assert_int_equal(sqfs_compressor_create(&config, &i->compressor), 0);
        i->reader = sqfs_dir_reader_create(&i->super, i->compressor, i->file, 0);
        assert_non_null(i->reader);
}

static sqfs_inode_generic_t *find(Image *i, const char *path) {
        sqfs_inode_generic_t *inode;

        if (sqfs_dir_reader_find_by_path(i->reader, NULL, path, &inode) != 0)
                fail_msg("%s is not there", path);
        return inode;
}

/* How many entries it has. All are in order, and have inodes of the type they tell. */
static unsigned read_directory(Image *i, const char *path) {
        sqfs_inode_generic_t *directory = find(i, path), *inode;
        char last[256] = "";
        sqfs_dir_entry_t *e;
        unsigned n = 0;
        int r;

        assert_int_equal(sqfs_dir_reader_open_dir(i->reader, directory, 0), 0);
        while ((r = sqfs_dir_reader_read(i->reader, &e)) == 0) {
                assert_true(strcmp(last, (const char *) e->name) < 0);
                (void) snprintf(last, sizeof(last), "%s", (const char *) e->name);
                assert_int_equal(sqfs_dir_reader_get_inode(i->reader, &inode), 0);
                assert_int_equal(inode->base.type > SQFS_INODE_SOCKET ? inode->base.type - 7 : inode->base.type, e->type);
                sqfs_free(inode);
                sqfs_free(e);
                n++;
        }
        assert_int_equal(r, 1);
        sqfs_free(directory);
        return n;
}

/* Each entry of the index leads to a header, and that to the name it says. Returns how many there are. */
static unsigned follow_index(Image *i, const char *path) {
        sqfs_meta_reader_t *m = sqfs_meta_reader_create(
                        i->file, i->compressor, i->super.directory_table_start, i->super.id_table_start);
        sqfs_inode_generic_t *inode = find(i, path);
        unsigned n = inode->data.dir_ext.inodex_count;
        uint32_t last = 0;

        assert_non_null(m);
        assert_int_equal(inode->base.type, SQFS_INODE_EXT_DIR);
        for (unsigned k = 0; k < n; k++) {
                sqfs_dir_header_t header;
                sqfs_dir_index_t *x;
                sqfs_dir_entry_t *e;

                assert_int_equal(sqfs_inode_unpack_dir_index_entry(inode, &x, k), 0);
                /* One for a block. */
                assert_true(x->start_block > last);
                last = x->start_block;
                assert_int_equal(sqfs_meta_reader_seek(m, i->super.directory_table_start + x->start_block,
                                                 (x->index + inode->data.dir_ext.offset) % META_SIZE),
                                0);
                assert_int_equal(sqfs_meta_reader_read_dir_header(m, &header), 0);
                assert_int_equal(sqfs_meta_reader_read_dir_ent(m, &e), 0);
                assert_int_equal(e->size, x->size);
                assert_memory_equal(e->name, x->name, x->size + 1);
                sqfs_free(e);
                sqfs_free(x);
        }
        sqfs_free(inode);
        sqfs_destroy(m);
        return n;
}

static void a_large_directory_has_all_its_names_in_order(void **state) {
        static const mode_t types[] = { S_IFREG, S_IFREG, S_IFDIR, S_IFIFO, S_IFCHR };
        Image *i = *state;
        char name[100];

        for (unsigned n = 0; n < 20000; n++) {
                name_of(n, name);
                add(i, name, types[n % ELEMENTSOF(types)] | 0755, n % 7);
        }
        write_image(i);
        assert_int_equal(read_directory(i, "d"), 20000);
        for (unsigned n = 0; n < 20000; n += 97) {
                sqfs_inode_generic_t *inode;

                name_of(n, name);
                inode = find(i, name);
                assert_int_equal(inode->base.mode, types[n % ELEMENTSOF(types)] | 0755);
                sqfs_free(inode);
        }
}

static void the_index_of_a_large_directory_leads_to_its_blocks(void **state) {
        Image *i = *state;
        char name[100];

        for (unsigned n = 0; n < 20000; n++) {
                name_of(n, name);
                add(i, name, S_IFREG | 0644, 0);
        }
        write_image(i);
        /* 20,000 × 46 bytes and headers, in blocks of 8 KiB; the first needs none. */
        assert_in_range(follow_index(i, "d"), 105, 130);
}

/* Inodes far from each other, in place and number, each under a header of its own. */
static void names_of_inodes_that_are_far_apart_are_all_there(void **state) {
        Image *i = *state;
        char name[100], target[100], *why;
        sqfs_inode_generic_t *a, *b;

        for (unsigned n = 0; n < 40000; n++) {
                (void) snprintf(name, sizeof(name), "a/%05u", n);
                add(i, name, S_IFREG | 0644, 0);
        }
        for (unsigned n = 0; n < 4000; n++) {
                (void) snprintf(name, sizeof(name), "d/%05u", n);
                (void) snprintf(target, sizeof(target), "a/%05u", n % 2 ? n : 39999 - n);
                assert_int_equal(tree_link(i->tree, name, target, &why), 0);
        }
        write_image(i);
        assert_int_equal(read_directory(i, "d"), 4000);
        assert_true(follow_index(i, "d") > 5);
        for (unsigned n = 0; n < 4000; n += 31) {
                (void) snprintf(name, sizeof(name), "d/%05u", n);
                (void) snprintf(target, sizeof(target), "a/%05u", n % 2 ? n : 39999 - n);
                a = find(i, name);
                b = find(i, target);
                assert_int_equal(a->base.inode_number, b->base.inode_number);
                sqfs_free(a);
                sqfs_free(b);
        }
}

static void what_was_removed_is_in_no_directory(void **state) {
        Image *i = *state;
        char name[100], *why;

        for (unsigned n = 0; n < 600; n++) {
                (void) snprintf(name, sizeof(name), "d/%03u", n);
                add(i, name, S_IFREG | 0644, 0);
        }
        add(i, "gone/file", S_IFREG | 0644, 0);
        tree_next_layer(i->tree);
        for (unsigned n = 0; n < 600; n++)
                if (n % 3 != 1) {
                        (void) snprintf(name, sizeof(name), "d/%03u", n);
                        assert_int_equal(tree_hide(i->tree, name, false, &why), 0);
                }
        assert_int_equal(tree_hide(i->tree, "gone", true, &why), 0);
        write_image(i);
        assert_int_equal(read_directory(i, "d"), 200);
        assert_int_equal(read_directory(i, "gone"), 0);
}

#define image_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                image_test(a_large_directory_has_all_its_names_in_order),
                image_test(the_index_of_a_large_directory_leads_to_its_blocks),
                image_test(names_of_inodes_that_are_far_apart_are_all_there),
                image_test(what_was_removed_is_in_no_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
