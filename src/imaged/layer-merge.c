/* SPDX-License-Identifier: Apache-2.0 */

/* Layers to tree, see the header. */

#include "imaged/layer-merge.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/sha256.h"

static int parse_digest(const char *text, size_t n, char *ret) {
        if (n == 1 && *text == '-') {
                *ret = 0;
                return 0;
        }
        if (n != SHA256_HEX_LENGTH || strspn(text, "0123456789abcdef") < n)
                return -EINVAL;
        (void) sprintf(ret, "sha256:%.*s", (int) n, text);
        return 0;
}

int layer_parse(const char *text, Layer *ret) {
        unsigned long long offset, size;
        unsigned fd;
        int n = 0;
        size_t k;

        /* Written by hero-imaged, which is trusted; this only is no place for surprises. */
        if (sscanf(text, "%u:%llu:%llu:%n", &fd, &offset, &size, &n) != 3 || n == 0 || fd > INT_MAX ||
                        offset > INT64_MAX || size > INT64_MAX - offset)
                return -EINVAL;
        *ret = (Layer){ .fd = (int) fd, .offset = offset, .size = size };
        text += n;
        k = strcspn(text, ":");
        if (text[k] != ':' || parse_digest(text, k, ret->digest) < 0)
                return -EINVAL;
        text += k + 1;
        return parse_digest(text, strlen(text), ret->diff_id);
}

/* Which layer a sentence is about. Those about bounds are about all of them together. */
static char *name_layer(char *why, size_t i) {
        char *s = why ? strprintf("Layer %zu: %s", i + 1, why) : NULL;

        free(why);
        return s;
}

static int merge_one(Import *p, const Layer *l, size_t i) {
        const TarInput input = {
                .fd = l->fd,
                .window = true,
                .offset = l->offset,
                .size = l->size,
                .digest = *l->digest ? l->digest : NULL,
                .diff_id = *l->diff_id ? l->diff_id : NULL,
                .hasher = p->hasher,
                .budget = &p->budget,
        };
        int r;

        r = import_stream(p, &input);
        if (r == -EBADMSG)
                p->why = name_layer(p->why, i);
        if (!p->wanted)
                p->n_bytes_before += l->size;
        return r;
}

static void find_wanted(const TreeNode *n, TreeInode **wanted) {
        for (const TreeNode *c = n->first_child; c; c = c->sibling)
                if (c->inode && S_ISDIR(c->inode->mode))
                        find_wanted(c, wanted);
                else if (c->inode && S_ISREG(c->inode->mode))
                        wanted[c->inode->number] = c->inode;
}

/* Contents that no name is left of have been written all the same. Nobody can know before the last layer,
 * and most images have few of them (the package manager's database, some caches), so there is one pass over
 * the blobs, with both checksums, decompression and tree done once; asking first what will be left would
 * cost each image a second decompression, which is most of the work. Only where the garbage is more than an
 * eighth of all contents (a layer that upgrades or chowns the world), they are read once more for those that
 * are left: what such an image pays for its layers once here, it would cost each disk and cache it is ever
 * in. Layers that nothing is left of are not read again. */
#define GARBAGE_MIN (UINT64_C(4) << 20)

static int read_again(Import *p, const Layer *layers, const uint32_t *ends, size_t n_layers) {
        uint32_t begin = 0;
        int r;

        r = squashfs_writer_restart(p->writer);
        p->n_headers = 0;
        p->budget = import_budget(p->limits);
        p->result.n_bytes = 0;
        for (size_t i = 0; r >= 0 && i < n_layers; begin = ends[i++]) {
                uint32_t k = begin;

                while (k < ends[i] && !p->wanted[k])
                        k++;
                if (k < ends[i])
                        r = merge_one(p, &layers[i], i);
                else
                        p->n_headers = ends[i];
        }
        return r;
}

static int drop_garbage(Import *p, const Layer *layers, const uint32_t *ends, size_t n_layers) {
        _cleanup_free_ TreeInode **wanted = new0(TreeInode *, p->n_headers);
        uint64_t n_bytes = 0;
        int r = 0;

        if (!wanted)
                return -ENOMEM;
        find_wanted(tree_root(p->tree), wanted);
        for (uint32_t i = 0; i < p->n_headers; i++)
                if (wanted[i])
                        n_bytes += squashfs_writer_file_size(wanted[i]);
        if (p->result.n_bytes - n_bytes > MAX2(p->result.n_bytes / 8, GARBAGE_MIN)) {
                p->wanted = wanted;
                p->n_wanted = p->n_headers;
                r = read_again(p, layers, ends, n_layers);
                p->wanted = NULL;
        }
        p->result.n_bytes = n_bytes;
        return r;
}

static int merge_all(Import *p, const Layer *layers, size_t n_layers, layer_done_t done) {
        uint32_t ends[LAYERS_MAX];
        int r;

        for (size_t i = 0; i < n_layers; i++) {
                if (i > 0)
                        tree_next_layer(p->tree);
                r = merge_one(p, &layers[i], i);
                if (r < 0)
                        return r;
                ends[i] = p->n_headers;
                if (done)
                        done((unsigned) i, p->userdata);
        }
        return drop_garbage(p, layers, ends, n_layers);
}

int layer_merge(const Layer *layers, size_t n_layers, Hasher *hasher, const ImportLimits *limits, Tree *tree,
                SquashfsWriter *writer, import_progress_t progress, layer_done_t done, void *userdata,
                ImportResult *ret, char **ret_why) {
        Import p = {
                .limits = limits,
                .budget = import_budget(limits),
                .tree = tree,
                .writer = writer,
                .progress = progress,
                .userdata = userdata,
                .layers = true,
                .hasher = hasher,
        };
        int r;

        assert(n_layers <= LAYERS_MAX);
        r = merge_all(&p, layers, n_layers, done);
        if (r < 0) {
                *ret_why = p.why;
                return r;
        }
        free(p.why);
        *ret = p.result;
        return 0;
}
