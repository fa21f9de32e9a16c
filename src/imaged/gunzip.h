/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* gzip undone by ISA-L, three times as fast as by zlib, which libarchive would use: most layers are gzip,
 * and undoing it is most of the time an image takes. (containerd does the same, with igzip.) */

#include "basic/macro.h"

#define GUNZIP_PIECE_MAX (256u * 1024u)

typedef struct Gunzip Gunzip;

/* Gives some more input in *ret: how much, 0 at the end, or -errno. It must stay there until it is asked for
 * more. */
typedef ssize_t (*gunzip_source_t)(void *userdata, const void **ret);

bool gunzip_is_gzip(const void *p, size_t n);

int gunzip_new(gunzip_source_t source, void *userdata, Gunzip **ret);
Gunzip *gunzip_free(Gunzip *g);
DEFINE_TRIVIAL_CLEANUP_FUNC(Gunzip *, gunzip_free);

/* The next piece of what comes out: its size, at most GUNZIP_PIECE_MAX, 0 at the end; what follows the last
 * stream is left alone. -EBADMSG: damaged, -ENODATA: cut short, or what the source gave. */
ssize_t gunzip_next(Gunzip *g, const void **ret);
