/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The images that there are, as hero-imaged has them in memory: what the store holds, read once. Every change goes to the store
 * first. Knows nothing of the bus; whoever shows images to others is told of changes. */

#include <uthash.h>

#include "basic/macro.h"
#include "imaged/image-store.h"

typedef struct Catalog Catalog;

typedef struct Image {
        UT_hash_handle hh; /* by record.digest */
        Catalog *catalog;
        ImageRecord record;
        bool used_since; /* last_used is newer than on disk */
        uint64_t opened; /* the cookie of the message that gave it out last */
        bool doomed;     /* while it is thought through what to remove: not counted any more, */
        bool kept;       /* a VM uses it */
} Image;

typedef struct Tag {
        UT_hash_handle hh; /* by reference; sorted by it */
        char reference[REFERENCE_MAX + 1];
        Image *image;    /* weak; NULL: unreadable, or the image's record is not there */
        bool unreadable; /* its file */
} Tag;

typedef enum CatalogEvent {
        CATALOG_IMAGE_ADDED,   /* after */
        CATALOG_IMAGE_REMOVED, /* before */
        CATALOG_TAGS_CHANGED,  /* of this image */
        CATALOG_PULLED,        /* again */
} CatalogEvent;

typedef void (*catalog_event_t)(CatalogEvent event, const Image *image, void *userdata);

struct Catalog {
        ImageStore *store; /* weak */
        Image *images;
        Tag *tags;
        unsigned n_broken;  /* records that cannot be read */
        unsigned n_foreign; /* tags whose names mean nothing */
        catalog_event_t event;
        void *userdata;
};

/* Reads the store, and removes from it contents without a record, which are what a crash leaves (not where a record cannot
 * be read: then nobody knows). */
int catalog_load(Catalog *c, ImageStore *store, catalog_event_t event, void *userdata);
void catalog_done(Catalog *c); /* writes what is not written */

Image *catalog_image(const Catalog *c, const char *digest);
Tag *catalog_tag(const Catalog *c, const char *reference);

/* By normalized reference or digest: of a name with a digest also the image of that digest. -ENOENT, -EUCLEAN (the tag is
 * there but no image behind it). */
int catalog_resolve(const Catalog *c, const char *reference, Image **ret);

/* The image whose digest begins with these digits. -ENOENT, -ENOTUNIQ. */
int catalog_find_abbreviated(const Catalog *c, const char *hex, Image **ret);

/* Adds the record (whose content is in the store) or brings the one that is there up to date, and points reference at it (NULL: nothing).
 * Takes the record over, also on failure, when a content that no other image has goes. -EDQUOT: too many. */
int catalog_put(Catalog *c, ImageRecord *record, const char *reference, Image **ret);

int catalog_set_tag(Catalog *c, const char *reference, Image *image);
int catalog_untag(Catalog *c, const char *reference); /* -ENOENT */

/* With its tags; its content, too, where no other image has the same. */
int catalog_remove(Catalog *c, Image *image);

/* False while there is a tag that cannot be read: an image without a tag may have one after all. */
bool catalog_is_sure(const Catalog *c);

/* It was asked for again, and is what it was. */
void catalog_pulled(Catalog *c, Image *image);

/* It was used now; written by catalog_flush(). */
void catalog_touch(Catalog *c, Image *image);
bool catalog_flush(Catalog *c); /* false: nothing was to be written */

unsigned image_count_tags(const Catalog *c, const Image *image);
unsigned catalog_count_content(const Catalog *c, const char *content); /* images that have it, but doomed ones */
uint64_t catalog_size(const Catalog *c);                               /* of all contents, likewise */

/* Is the content there, in the right size? */
bool image_is_complete(const Catalog *c, const Image *image);
Image *catalog_find_whole(const Catalog *c, const char *digest); /* NULL: not here, or not so */
