/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The images on disk: contents by digest, and tags, which are names that point at them.
 *
 *   content/HEX.squashfs   read-only once it has this name
 *   tags/NAME@TAG          JSON: version, digest, size, entries, created, source
 *
 * Files only: no process, no bus, nothing remembered between calls. Every change is one rename or link,
 * synced, so a crash at any moment leaves the old or the new; what it may leave besides is a file ".#…"
 * (removed when the store is opened) or a content without a tag (image_store_untagged()). One process at a
 * time has the store open. */

#include "basic/macro.h"
#include "imaged/reference.h"

#define STORE_TAGS_MAX 1024u
#define STORE_SOURCE_MAX 64u

typedef struct ImageStore ImageStore;

typedef struct ImageTag {
        char reference[REFERENCE_MAX + 1]; /* NAME:TAG */
        char digest[DIGEST_LENGTH + 1];
        uint64_t size;    /* of the file */
        uint64_t created; /* CLOCK_REALTIME */
        uint32_t entries;
        char source[STORE_SOURCE_MAX + 1]; /* what a built-in image was made from; "" else */
} ImageTag;

/* Opens the store in the directory (which must exist), makes what is missing in it. -EBUSY: another process
 * has it open. */
int image_store_open(const char *path, ImageStore **ret);
ImageStore *image_store_free(ImageStore *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(ImageStore *, image_store_free);

/* Lets the next process open the store while this one, with nothing in flight, is about to end. */
void image_store_unlock(ImageStore *s);

/* A content in the making. The descriptor is open for reading and writing; image_store_discard() or
 * _commit() takes the name away again that the file has where there are no anonymous files. */
typedef struct StoreFile {
        int fd;
        char *temporary;
} StoreFile;
int image_store_create(ImageStore *s, StoreFile *ret);
void image_store_discard(ImageStore *s, StoreFile *f);

/* Makes the file, complete and synced by the caller, the content of the digest. The same content being there
 * already is success. The file is closed. */
int image_store_commit(ImageStore *s, StoreFile *f, const char *digest);

/* Points tag->reference at tag->digest, whose content must be there (-ENOENT). -EDQUOT: too many tags. */
int image_store_tag(ImageStore *s, const ImageTag *tag);
int image_store_untag(ImageStore *s, const char *reference); /* -ENOENT */

/* -ENOENT: no such tag; -EUCLEAN: its file is not readable as one. */
int image_store_resolve(ImageStore *s, const char *reference, ImageTag *ret);

/* All readable tags by name. *ret_broken (may be NULL) says how many others there are. */
int image_store_list(ImageStore *s, ImageTag **ret, size_t *ret_n, unsigned *ret_broken);

/* The content, open for reading. -ENOENT; -EUCLEAN when it is not of this size (UINT64_MAX: any). */
int image_store_open_content(ImageStore *s, const char *digest, uint64_t size);
int image_store_remove_content(ImageStore *s, const char *digest); /* 0 also when it is not there */

/* Digests of contents no tag points at. -EUCLEAN when a tag cannot be read: then nobody knows. */
int image_store_untagged(ImageStore *s, char ***ret);
