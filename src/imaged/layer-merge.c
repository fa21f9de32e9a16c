/* SPDX-License-Identifier: Apache-2.0 */

/* Layers to tree, see the header. */

#include "imaged/layer-merge.h"

#include <limits.h>
#include <stdio.h>

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
        };
        int r;

        if (i > 0)
                tree_next_layer(p->tree);
        r = import_stream(p, &input);
        if (r == -EBADMSG)
                p->why = name_layer(p->why, i);
        p->n_bytes_before += l->size;
        return r;
}

int layer_merge(const Layer *layers, size_t n_layers, const ImportLimits *limits, Tree *tree,
                SquashfsWriter *writer, import_progress_t progress, layer_done_t done, void *userdata,
                ImportResult *ret, char **ret_why) {
        Import p = {
                .limits = limits,
                .tree = tree,
                .writer = writer,
                .progress = progress,
                .userdata = userdata,
                .layers = true,
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n_layers; i++) {
                r = merge_one(&p, &layers[i], i);
                if (r >= 0 && done)
                        done((unsigned) i, userdata);
        }
        if (r < 0) {
                *ret_why = p.why;
                return r;
        }
        free(p.why);
        *ret = p.result;
        return 0;
}
