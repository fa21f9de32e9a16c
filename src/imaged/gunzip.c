/* SPDX-License-Identifier: Apache-2.0 */

/* gzip by ISA-L, see the header. Owned by a tar stream. */

#include "imaged/gunzip.h"

#include <isa-l/igzip_lib.h>

#include "basic/alloc-util.h"

#define MAGIC_1 0x1f
#define MAGIC_2 0x8b

struct Gunzip {
        gunzip_source_t source;
        void *userdata;
        bool input_ended, ended;
        struct inflate_state state;
        uint8_t piece[GUNZIP_PIECE_MAX];
};

bool gunzip_is_gzip(const void *p, size_t n) {
        const uint8_t *magic = p;

        return n >= 2 && magic[0] == MAGIC_1 && magic[1] == MAGIC_2;
}

int gunzip_new(gunzip_source_t source, void *userdata, Gunzip **ret) {
        Gunzip *g;

        g = new (Gunzip, 1);
        if (!g)
                return -ENOMEM;
        g->source = source;
        g->userdata = userdata;
        g->input_ended = g->ended = false;
        isal_inflate_init(&g->state);
        g->state.crc_flag = ISAL_GZIP; /* with header and checksums */
        *ret = g;
        return 0;
}

Gunzip *gunzip_free(Gunzip *g) {
        return mfree(g);
}

static int more_input(Gunzip *g) {
        const void *p;
        ssize_t n;

        if (g->state.avail_in > 0 || g->input_ended)
                return 0;
        n = g->source(g->userdata, &p);
        if (n < 0)
                return (int) n;
        g->input_ended = n == 0;
        g->state.next_in = (uint8_t *) p;
        g->state.avail_in = (uint32_t) n;
        return 0;
}

/* After the end of a stream there may be another one (pigz, bgzip, "cat"); anything else is padding. */
static int next_stream(Gunzip *g) {
        int r;

        r = more_input(g);
        if (r < 0)
                return r;
        if (g->state.avail_in > 0 && *g->state.next_in == MAGIC_1)
                isal_inflate_reset(&g->state);
        else
                g->ended = true;
        return 0;
}

/* Fills the piece, or some of it. */
static int inflate_some(Gunzip *g) {
        uint32_t in, out;
        int r;

        r = more_input(g);
        if (r < 0)
                return r;
        in = g->state.avail_in;
        out = g->state.avail_out;
        r = isal_inflate(&g->state);
        if (r < 0 || r == ISAL_NEED_DICT)
                return -EBADMSG;
        if (g->state.block_state == ISAL_BLOCK_FINISH)
                return next_stream(g);
        if (g->input_ended && g->state.avail_out > 0)
                return -ENODATA;
        return in > 0 && in == g->state.avail_in && out == g->state.avail_out ? -EBADMSG : 0;
}

ssize_t gunzip_next(Gunzip *g, const void **ret) {
        int r;

        g->state.next_out = g->piece;
        g->state.avail_out = sizeof(g->piece);
        while (!g->ended && g->state.avail_out > 0) {
                r = inflate_some(g);
                if (r < 0)
                        return r;
        }
        *ret = g->piece;
        return (ssize_t) (sizeof(g->piece) - g->state.avail_out);
}
