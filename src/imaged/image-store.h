/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The images on disk:
 *
 *   content/HEX.squashfs   by digest of the file; read-only once it has this name
 *   images/HEX.json        what is known of an image (image-record.h), by digest of the image
 *   tags/REFERENCE         JSON: version, digest of the image
 *
 * Files only: no process, no bus, nothing remembered between calls (image-catalog.h does that). Every change is one rename
 * or link, synced, and they are made in this order, so a crash at any moment leaves the old or the new; what it may leave besides
 * is a file ".#…" (removed when the store is opened), a content without a record, or a record without a tag. One process at
 * a time has the store open. */

#include "basic/macro.h"
#include "imaged/image-record.h"
#include "imaged/reference.h"

#define STORE_TAGS_MAX 4096u
#define STORE_IMAGES_MAX 4096u

typedef struct ImageStore ImageStore;

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
 * already is success; one of another size is a damaged one, and replaced. The file is closed. */
int image_store_commit(ImageStore *s, StoreFile *f, const char *digest);

/* The content, open for reading. -ENOENT; -EUCLEAN when it is not of this size (UINT64_MAX: any). */
int image_store_open_content(ImageStore *s, const char *digest, uint64_t size);
int image_store_remove_content(ImageStore *s, const char *digest); /* 0 also when it is not there */

/* A file without a name beside the contents, for what is needed only for a while. */
int image_store_scratch(ImageStore *s, StoreFile *ret);

/* The record's content must be there (-ENOENT). Replaces one of the same digest. */
int image_store_write_record(ImageStore *s, const ImageRecord *record);
int image_store_read_record(ImageStore *s, const char *digest, ImageRecord *ret); /* -ENOENT, -EUCLEAN */
int image_store_remove_record(ImageStore *s, const char *digest);                 /* 0 also when it is not there */

/* Points the reference at the image, whose record must be there (-ENOENT). */
int image_store_tag(ImageStore *s, const char *reference, const char *digest);
int image_store_untag(ImageStore *s, const char *reference);                                        /* -ENOENT */
int image_store_resolve(ImageStore *s, const char *reference, char digest[static DIGEST_LENGTH + 1]); /* -ENOENT, -EUCLEAN */

/* What there is, by name: digests of contents, digests of records, references. *ret_foreign (may be NULL) counts files whose
 * names are not such. */
int image_store_list_contents(ImageStore *s, char ***ret);
int image_store_list_records(ImageStore *s, char ***ret);
int image_store_list_tags(ImageStore *s, char ***ret, unsigned *ret_foreign);

/* Bytes free for us on the file system. */
int image_store_free_space(ImageStore *s, uint64_t *ret);
