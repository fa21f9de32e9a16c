/* SPDX-License-Identifier: Apache-2.0 */

/* Compression, see the header. */

#include "imaged/squashfs-compressor.h"

#include <sqfs/error.h>

#include "basic/alloc-util.h"

/* libsquashfs's compressor, corrected: that of lz4 (1.2.0) also returns blocks that became larger and ought
 * to be stored as they are. The kernel reads them all the same, unsquashfs does not. */
typedef struct Compressor {
        sqfs_compressor_t base;
        sqfs_compressor_t *inner;
} Compressor;

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

int squashfs_compressor_new(sqfs_compressor_t **ret) {
        sqfs_compressor_config_t config;
        sqfs_compressor_t *inner;
        int r;

        r = sqfs_compressor_config_init(&config, SQUASHFS_COMPRESSOR, SQUASHFS_BLOCK_SIZE, 0);
        if (!r)
                r = sqfs_compressor_create(&config, &inner);
        if (r)
                return r;
        *ret = compressor_wrap(inner);
        return *ret ? 0 : SQFS_ERROR_ALLOC;
}
