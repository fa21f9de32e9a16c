/* SPDX-License-Identifier: Apache-2.0 */

/* Layers that mean each other ill. The input is a program: each three bytes are an entry (what it is, which name, which other
 * name), and some begin the next layer. A fuzzer of bytes would hardly ever come to a second layer. Whatever is made of it
 * must be an image or a sentence; and what is in the tree must add up. */

#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/layer-merge.h"
#include "unit/imaged/tar-maker.h"

#define LAYERS 6u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool b) {
        if (!b)
                abort();
}

/* clang-format off */
static const char *const names[] = {
        "a", "b", "a/b", "a/a", "b/a", "a/b/c", "./a/", "", ".", "..", "a/..", "/a", "l", "l/a", "a/l", "a/l/b", "l/l/l",
        ".wh.a", ".wh.b", "a/.wh.b", "a/b/.wh.c", ".wh..wh..opq", "a/.wh..wh..opq", "l/.wh.a", "l/.wh..wh..opq", ".wh.", ".wh..",
        ".wh...", ".wh.a/b", ".wh..wh.plnk/x", "a/../../b", "//a//b//",
};
static const char *const targets[] = { "a", "b", "a/b", "..", "../..", "/", "/a", "l", "a/l", ".", "../a", "nothing", "a/../b", "//b/./" };
/* clang-format on */

static void put_one(Tar *t, const uint8_t *p) {
        const char *name = names[p[1] % ELEMENTSOF(names)], *target = targets[p[2] % ELEMENTSOF(targets)];

        switch (p[0] % 8) {
        case 0:
        case 1:
                return put_file(t, name, target);
        case 2:
        case 3:
                return put_entry(t, name, '5', NULL, NULL, 0);
        case 4:
                return put_entry(t, name, '2', target, NULL, 0);
        case 5:
                return put_entry(t, name, '1', target, NULL, 0);
        case 6:
                return put_entry(t, name, '6', NULL, NULL, 0);
        default:
                return put_pax(t, p[2] % 2 ? "path" : "linkpath", name, strlen(name));
        }
}

static size_t make_layers(const uint8_t *data, size_t size, Tar *layers) {
        size_t n = 1;

        layers[0] = tar_new();
        for (size_t i = 0; i + 3 <= size && i < 3000; i += 3)
                if (data[i] >= 0xe0 && n < LAYERS)
                        layers[n++] = tar_new();
                else
                        put_one(&layers[n - 1], data + i);
        for (size_t i = 0; i < n; i++)
                put_end(&layers[i]);
        return n;
}

typedef struct Sum {
        uint32_t names, links;
} Sum;

/* Counts, and looks whether parents, depths and numbers of children are right. */
static void check_node(const TreeNode *n, Sum *sum) {
        uint32_t children = 0;

        sum->names++;
        must(n->inode->n_links > 0);
        for (const TreeNode *c = n->first_child; c; c = c->sibling) {
                must(c->parent == n && c->depth == n->depth + 1);
                must(!streq(c->name, "..") && !streq(c->name, ".") && !streq(c->name, "") && !strchr(c->name, '/'));
                must(!startswith(c->name, ".wh."));
                if (!c->inode)
                        continue;
                children++;
                must(S_ISDIR(n->inode->mode));
                check_node(c, sum);
        }
        must(children == n->n_children);
}

static void check(Tree *t, const ImportResult *result) {
        Sum sum = {};

        check_node(tree_root(t), &sum);
        must(sum.names == tree_n_entries(t) && sum.names == result->n_entries);
        must(tree_n_inodes(t) <= sum.names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const ImportLimits limits = { .max_entries = 1000, .max_bytes = 16 << 20 };
        _cleanup_close_ int output = memfd_create("squashfs", MFD_CLOEXEC);
        _cleanup_(tree_freep) Tree *tree = NULL;
        _cleanup_(squashfs_writer_freep) SquashfsWriter *writer = NULL; /* before the tree */
        _cleanup_free_ char *why = NULL;
        Layer layers[LAYERS] = {};
        ImportResult result;
        Tar tars[LAYERS];
        struct stat st;
        size_t n;
        int r;

        (void) setlocale(LC_CTYPE, "C.UTF-8");
        must(output >= 0 && tree_new(limits.max_entries, &tree) >= 0 && squashfs_writer_new(output, 1, &writer) >= 0);
        n = make_layers(data, size, tars);
        for (size_t i = 0; i < n; i++) {
                must(fstat(tars[i].fd, &st) >= 0);
                layers[i].fd = tars[i].fd;
                layers[i].size = (uint64_t) st.st_size;
        }
        r = layer_merge(layers, n, NULL, &limits, tree, writer, NULL, NULL, NULL, &result, &why);
        for (size_t i = 0; i < n; i++)
                safe_close(tars[i].fd);
        if (r < 0) {
                must(why && utf8_is_clean(why, NULL));
                return 0;
        }
        check(tree, &result);
        must(squashfs_writer_finish(writer, tree) >= 0);
        return 0;
}
