/* SPDX-License-Identifier: Apache-2.0 */

/* Images in memory, see the header. Owned by Imaged. */

#include "imaged/image-catalog.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"

#define FOREACH_IMAGE(i, c) for (Image *i = (c)->images; i; i = i->hh.next)
#define FOREACH_TAG(t, c) for (Tag *t = (c)->tags; t; t = t->hh.next)

static void tell(Catalog *c, CatalogEvent event, const Image *image) {
        if (c->event && image)
                c->event(event, image, c->userdata);
}

Image *catalog_image(const Catalog *c, const char *digest) {
        Image *i;

        HASH_FIND_STR(c->images, digest, i);
        return i;
}

Tag *catalog_tag(const Catalog *c, const char *reference) {
        Tag *t;

        HASH_FIND_STR(c->tags, reference, t);
        return t;
}

static int compare_tags(const Tag *a, const Tag *b) {
        return strcmp(a->reference, b->reference);
}

static int add_tag(Catalog *c, const char *reference, Image *image, bool unreadable) {
        Tag *t;

        t = new0(Tag, 1);
        if (!t)
                return -ENOMEM;
        (void) snprintf(t->reference, sizeof(t->reference), "%s", reference);
        t->image = image;
        t->unreadable = unreadable;
        HASH_ADD_INORDER(hh, c->tags, reference[0], strlen(t->reference), t, compare_tags);
        return 0;
}

/* Takes the record over. */
static int add_image(Catalog *c, ImageRecord *record, Image **ret) {
        Image *i;

        i = new0(Image, 1);
        if (!i)
                return -ENOMEM;
        i->catalog = c;
        i->record = *record;
        *record = (ImageRecord) {};
        HASH_ADD_STR(c->images, record.digest, i);
        *ret = i;
        return 0;
}

static void free_tag(Catalog *c, Tag *t) {
        HASH_DEL(c->tags, t);
        free(t);
}

static void free_image(Catalog *c, Image *i) {
        HASH_DEL(c->images, i);
        image_record_done(&i->record);
        free(i);
}

static int load_images(Catalog *c) {
        _cleanup_strv_free_ char **digests = NULL;
        int r;

        r = image_store_list_records(c->store, &digests);
        if (r < 0)
                return r;
        STRV_FOREACH(d, digests) {
                _cleanup_(image_record_done) ImageRecord record = {};
                Image *i;

                r = image_store_read_record(c->store, *d, &record);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        c->n_broken++;
                        continue;
                }
                r = add_image(c, &record, &i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int load_tags(Catalog *c) {
        _cleanup_strv_free_ char **references = NULL;
        int r;

        r = image_store_list_tags(c->store, &references, &c->n_foreign);
        if (r < 0)
                return r;
        STRV_FOREACH(reference, references) {
                char digest[DIGEST_LENGTH + 1];

                r = image_store_resolve(c->store, *reference, digest);
                r = add_tag(c, *reference, r < 0 ? NULL : catalog_image(c, digest), r < 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int remove_orphans(Catalog *c) {
        _cleanup_strv_free_ char **contents = NULL;
        int r;

        if (c->n_broken > 0)
                return 0;
        r = image_store_list_contents(c->store, &contents);
        STRV_FOREACH(d, contents)
                if (r >= 0 && catalog_count_content(c, *d) == 0)
                        r = image_store_remove_content(c->store, *d);
        return r;
}

int catalog_load(Catalog *c, ImageStore *store, catalog_event_t event, void *userdata) {
        int r;

        *c = (Catalog) { .store = store };
        r = load_images(c);
        if (r >= 0)
                r = load_tags(c);
        if (r >= 0)
                r = remove_orphans(c);
        if (r < 0) {
                catalog_done(c);
                return r;
        }
        c->event = event;
        c->userdata = userdata;
        return 0;
}

void catalog_done(Catalog *c) {
        (void) catalog_flush(c);
        while (c->tags)
                free_tag(c, c->tags);
        while (c->images)
                free_image(c, c->images);
        *c = (Catalog) {};
}

int catalog_resolve(const Catalog *c, const char *reference, Image **ret) {
        const char *digest = digest_is_valid(reference) ? reference : reference_digest(reference);
        Tag *t = catalog_tag(c, reference);
        Image *i = t ? t->image : NULL;

        if (!i && digest)
                i = catalog_image(c, digest);
        if (!i)
                return t ? -EUCLEAN : -ENOENT;
        *ret = i;
        return 0;
}

int catalog_find_abbreviated(const Catalog *c, const char *hex, Image **ret) {
        Image *found = NULL;

        FOREACH_IMAGE(i, c)
                if (startswith(i->record.digest + strlen(DIGEST_PREFIX), hex)) {
                        if (found)
                                return -ENOTUNIQ;
                        found = i;
                }
        if (!found)
                return -ENOENT;
        *ret = found;
        return 0;
}

/* The same image again: nothing of it changes but when it came, and its content where that was lost. */
static int renew_image(Catalog *c, Image *image, ImageRecord *record) {
        ImageRecord old = image->record;
        int r;

        image->record = *record;
        if (old.created > 0 && !record->has_config)
                image->record.created = old.created;
        r = image_store_write_record(c->store, &image->record);
        if (r < 0) {
                image->record = old;
                return r;
        }
        *record = old; /* to be freed */
        image->used_since = false;
        if (!streq(old.content, image->record.content) && catalog_count_content(c, old.content) == 0)
                (void) image_store_remove_content(c->store, old.content);
        tell(c, CATALOG_PULLED, image);
        return 0;
}

/* Takes the record over when it succeeds. */
static int put(Catalog *c, ImageRecord *record, const char *reference, Image **ret) {
        Image *i = catalog_image(c, record->digest);
        int r;

        if (reference && HASH_COUNT(c->tags) >= STORE_TAGS_MAX && !catalog_tag(c, reference))
                return -EDQUOT;
        if (i)
                r = renew_image(c, i, record);
        else if (HASH_COUNT(c->images) >= STORE_IMAGES_MAX)
                return -EDQUOT;
        else {
                r = image_store_write_record(c->store, record);
                if (r >= 0)
                        r = add_image(c, record, &i);
                if (r >= 0)
                        tell(c, CATALOG_IMAGE_ADDED, i);
        }
        if (r >= 0 && reference)
                r = catalog_set_tag(c, reference, i);
        if (r < 0)
                return r;
        if (ret)
                *ret = i;
        return 0;
}

int catalog_put(Catalog *c, ImageRecord *from, const char *reference, Image **ret) {
        _cleanup_(image_record_done) ImageRecord record = *from;
        char content[DIGEST_LENGTH + 1];
        int r;

        *from = (ImageRecord) {};
        strcpy(content, record.content);
        r = put(c, &record, reference, ret);
        /* What nobody knows of would take its space until the next start. */
        if (r < 0 && c->n_broken == 0 && catalog_count_content(c, content) == 0)
                (void) image_store_remove_content(c->store, content);
        return r;
}

int catalog_set_tag(Catalog *c, const char *reference, Image *image) {
        Tag *t = catalog_tag(c, reference);
        Image *old = t ? t->image : NULL;
        int r;

        if (t && old == image)
                return 0;
        if (!t && HASH_COUNT(c->tags) >= STORE_TAGS_MAX)
                return -EDQUOT;
        r = image_store_tag(c->store, reference, image->record.digest);
        if (r < 0)
                return r;
        if (t) {
                t->image = image;
                t->unreadable = false;
        } else {
                r = add_tag(c, reference, image, false);
                if (r < 0)
                        return r;
        }
        tell(c, CATALOG_TAGS_CHANGED, old);
        tell(c, CATALOG_TAGS_CHANGED, image);
        return 0;
}

int catalog_untag(Catalog *c, const char *reference) {
        Tag *t = catalog_tag(c, reference);
        Image *image;
        int r;

        if (!t)
                return -ENOENT;
        r = image_store_untag(c->store, reference);
        if (r < 0 && r != -ENOENT)
                return r;
        image = t->image;
        free_tag(c, t);
        tell(c, CATALOG_TAGS_CHANGED, image);
        return 0;
}

static int untag_all(Catalog *c, const Image *image) {
        Tag *t, *next;
        int r;

        for (t = c->tags; t; t = next) {
                next = t->hh.next;
                if (t->image != image)
                        continue;
                r = image_store_untag(c->store, t->reference);
                if (r < 0 && r != -ENOENT)
                        return r;
                free_tag(c, t);
        }
        return 0;
}

int catalog_remove(Catalog *c, Image *image) {
        char content[DIGEST_LENGTH + 1];
        int r;

        strcpy(content, image->record.content);
        /* The tags first: a tag without an image would be a broken one, what has no tag only takes space. */
        r = untag_all(c, image);
        if (r >= 0)
                r = image_store_remove_record(c->store, image->record.digest);
        if (r < 0)
                return r;
        tell(c, CATALOG_IMAGE_REMOVED, image);
        free_image(c, image);
        return catalog_count_content(c, content) > 0 ? 0 : image_store_remove_content(c->store, content);
}

bool catalog_is_sure(const Catalog *c) {
        FOREACH_TAG(t, c)
                if (t->unreadable)
                        return false;
        return c->n_foreign == 0;
}

void catalog_touch(Catalog *c, Image *image) {
        image->record.last_used = now_usec(CLOCK_REALTIME);
        image->used_since = true;
}

void catalog_pulled(Catalog *c, Image *image) {
        catalog_touch(c, image);
        image->record.pulled = image->record.last_used;
        tell(c, CATALOG_PULLED, image);
}

bool catalog_flush(Catalog *c) {
        bool any = false;

        FOREACH_IMAGE(i, c)
                if (i->used_since) {
                        i->used_since = false;
                        any = true;
                        (void) image_store_write_record(c->store, &i->record); /* a time for LRU is not worth an error */
                }
        return any;
}

unsigned image_count_tags(const Catalog *c, const Image *image) {
        unsigned n = 0;

        FOREACH_TAG(t, c)
                n += t->image == image;
        return n;
}

unsigned catalog_count_content(const Catalog *c, const char *content) {
        unsigned n = 0;

        FOREACH_IMAGE(i, c)
                n += !i->doomed && streq(i->record.content, content);
        return n;
}

uint64_t catalog_size(const Catalog *c) {
        uint64_t sum = 0;

        FOREACH_IMAGE(i, c) {
                bool first = !i->doomed; /* of those with this content */

                for (const Image *k = c->images; k != i && first; k = k->hh.next)
                        first = k->doomed || !streq(k->record.content, i->record.content);
                if (first)
                        sum += i->record.size;
        }
        return sum;
}

bool image_is_complete(const Catalog *c, const Image *image) {
        int fd = image_store_open_content(c->store, image->record.content, image->record.size);

        safe_close(fd);
        return fd >= 0;
}

Image *catalog_find_whole(const Catalog *c, const char *digest) {
        Image *i = catalog_image(c, digest);

        return i && image_is_complete(c, i) ? i : NULL;
}
