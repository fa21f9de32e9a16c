/* SPDX-License-Identifier: Apache-2.0 */

/* The image store, see the header. Owned by hero-imaged. */

#include "imaged/image-store.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

#define TAG_VERSION 1
#define TAG_FILE_MAX 4096u
#define CONTENT_SUFFIX ".squashfs"
#define CONTENT_NAME_MAX (DIGEST_HEX_LENGTH + sizeof(CONTENT_SUFFIX))
/* Of any temporary file, ours and write_file_atomic()'s. */
#define TEMPORARY_PREFIX ".#"

struct ImageStore {
        int lock_fd, content_fd, tags_fd;
};

static inline void closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}

static void content_name(const char *digest, char buf[static CONTENT_NAME_MAX]) {
        (void) snprintf(buf, CONTENT_NAME_MAX, "%.*s" CONTENT_SUFFIX, (int) DIGEST_HEX_LENGTH,
                        digest + strlen(DIGEST_PREFIX));
}

/* The other way; false when the file is not a content. */
static bool content_digest(const char *name, char buf[static DIGEST_LENGTH + 1]) {
        if (strlen(name) != CONTENT_NAME_MAX - 1 || !streq(name + DIGEST_HEX_LENGTH, CONTENT_SUFFIX))
                return false;
        (void) snprintf(buf, DIGEST_LENGTH + 1, DIGEST_PREFIX "%.*s", (int) DIGEST_HEX_LENGTH, name);
        return digest_is_valid(buf);
}

static int open_directory(int dir_fd, DIR **ret) {
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return negative_errno();
        *ret = fdopendir(fd);
        if (!*ret) {
                int r = negative_errno();

                safe_close(fd);
                return r;
        }
        return 0;
}

static int remove_temporaries(int dir_fd) {
        _cleanup_(closedirp) DIR *d = NULL;
        int r;

        r = open_directory(dir_fd, &d);
        if (r < 0)
                return r;
        for (struct dirent *e; (e = readdir(d));)
                if (startswith(e->d_name, TEMPORARY_PREFIX) && unlinkat(dir_fd, e->d_name, 0) < 0)
                        return negative_errno();
        return 0;
}

int image_store_open(const char *path, ImageStore **ret) {
        _cleanup_(image_store_freep) ImageStore *s = NULL;
        int r;

        s = new(ImageStore, 1);
        if (!s)
                return -ENOMEM;
        *s = (ImageStore) { .lock_fd = -EBADF, .content_fd = -EBADF, .tags_fd = -EBADF };
        s->lock_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->lock_fd < 0)
                return negative_errno();
        if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : negative_errno();
        s->content_fd = open_directory_at(s->lock_fd, "content", 0700, true);
        if (s->content_fd < 0)
                return s->content_fd;
        s->tags_fd = open_directory_at(s->lock_fd, "tags", 0700, true);
        if (s->tags_fd < 0)
                return s->tags_fd;
        r = remove_temporaries(s->content_fd);
        if (r >= 0)
                r = remove_temporaries(s->tags_fd);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

ImageStore *image_store_free(ImageStore *s) {
        if (!s)
                return NULL;
        safe_close(s->content_fd);
        safe_close(s->tags_fd);
        safe_close(s->lock_fd);
        return mfree(s);
}

void image_store_unlock(ImageStore *s) {
        s->lock_fd = safe_close(s->lock_fd);
}

int image_store_create(ImageStore *s, StoreFile *ret) {
        StoreFile f;

        f.fd = tmpfile_open(s->content_fd, 0400, &f.temporary);
        if (f.fd < 0)
                return f.fd;
        *ret = f;
        return 0;
}

void image_store_discard(ImageStore *s, StoreFile *f) {
        f->fd = safe_close(f->fd);
        if (f->temporary)
                (void) unlinkat(s->content_fd, f->temporary, 0);
        f->temporary = mfree(f->temporary);
}

int image_store_commit(ImageStore *s, StoreFile *f, const char *digest) {
        char name[CONTENT_NAME_MAX];
        int r;

        if (!digest_is_valid(digest))
                return -EINVAL;
        content_name(digest, name);
        r = tmpfile_link(f->fd, f->temporary, s->content_fd, name);
        if (r >= 0)
                f->temporary = mfree(f->temporary);
        if (r >= 0 && fsync(s->content_fd) < 0)
                r = negative_errno();
        image_store_discard(s, f);
        return r == -EEXIST ? 0 : r;
}

static int count_tags(ImageStore *s, unsigned *ret) {
        _cleanup_(closedirp) DIR *d = NULL;
        unsigned n = 0;
        int r;

        r = open_directory(s->tags_fd, &d);
        if (r < 0)
                return r;
        for (struct dirent *e; (e = readdir(d));)
                n += e->d_name[0] != '.';
        *ret = n;
        return 0;
}

int image_store_tag(ImageStore *s, const ImageTag *tag) {
        _cleanup_(json_decrefp) json_t *j = NULL;
        char file[REFERENCE_MAX + 1], content[CONTENT_NAME_MAX];
        _cleanup_free_ char *text = NULL;
        unsigned n;
        int r;

        if (!digest_is_valid(tag->digest))
                return -EINVAL;
        content_name(tag->digest, content);
        if (faccessat(s->content_fd, content, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return negative_errno();
        reference_to_filename(tag->reference, file);
        r = count_tags(s, &n);
        if (r < 0)
                return r;
        if (n >= STORE_TAGS_MAX && faccessat(s->tags_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return -EDQUOT;
        j = json_pack("{si ss sI sI sI ss}", "version", TAG_VERSION, "digest", tag->digest, "size",
                        (json_int_t) tag->size, "entries", (json_int_t) tag->entries, "created",
                        (json_int_t) tag->created, "source", tag->source);
        text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
        if (!text)
                return -ENOMEM;
        return write_file_atomic(s->tags_fd, file, text, strlen(text), 0600);
}

int image_store_untag(ImageStore *s, const char *reference) {
        char file[REFERENCE_MAX + 1];

        reference_to_filename(reference, file);
        if (unlinkat(s->tags_fd, file, 0) < 0 || fsync(s->tags_fd) < 0)
                return negative_errno();
        return 0;
}

static int read_tag(ImageStore *s, const char *file, const char *reference, ImageTag *ret) {
        json_int_t version, size, entries, created;
        _cleanup_(json_decrefp) json_t *j = NULL;
        const char *digest, *source = "";
        _cleanup_free_ char *text = NULL;
        size_t n;
        int r;

        r = read_full_file(s->tags_fd, file, TAG_FILE_MAX, &text, &n);
        if (r < 0)
                return r == -E2BIG ? -EUCLEAN : r;
        j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
        if (!j || json_unpack(j, "{sI ss sI sI sI s?s}", "version", &version, "digest", &digest, "size",
                                  &size, "entries", &entries, "created", &created, "source", &source) < 0)
                return -EUCLEAN;
        if (version != TAG_VERSION || !digest_is_valid(digest) || size < 0 || entries < 0 ||
                        entries > UINT32_MAX || created < 0 || strlen(source) > STORE_SOURCE_MAX)
                return -EUCLEAN;
        *ret = (ImageTag) {
                .size = (uint64_t) size, .created = (uint64_t) created, .entries = (uint32_t) entries
        };
        (void) snprintf(ret->reference, sizeof(ret->reference), "%s", reference);
        (void) snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
        (void) snprintf(ret->source, sizeof(ret->source), "%s", source);
        return 0;
}

int image_store_resolve(ImageStore *s, const char *reference, ImageTag *ret) {
        char file[REFERENCE_MAX + 1];

        reference_to_filename(reference, file);
        return read_tag(s, file, reference, ret);
}

static int compare_tags(const void *a, const void *b) {
        return strcmp(((const ImageTag *) a)->reference, ((const ImageTag *) b)->reference);
}

int image_store_list(ImageStore *s, ImageTag **ret, size_t *ret_n, unsigned *ret_broken) {
        _cleanup_free_ ImageTag *tags = NULL;
        _cleanup_(closedirp) DIR *d = NULL;
        size_t n = 0, allocated = 0;
        unsigned broken = 0;
        int r;

        r = open_directory(s->tags_fd, &d);
        if (r < 0)
                return r;
        for (struct dirent *e; (e = readdir(d));) {
                char reference[REFERENCE_MAX + 1];

                if (e->d_name[0] == '.')
                        continue;
                if (!GREEDY_REALLOC(tags, allocated, n + 1))
                        return -ENOMEM;
                r = reference_from_filename(e->d_name, reference);
                if (r >= 0)
                        r = read_tag(s, e->d_name, reference, tags + n);
                if (r < 0)
                        broken++;
                else
                        n++;
        }
        if (n > 0)
                qsort(tags, n, sizeof(ImageTag), compare_tags);
        *ret = TAKE_PTR(tags);
        *ret_n = n;
        if (ret_broken)
                *ret_broken = broken;
        return 0;
}

int image_store_open_content(ImageStore *s, const char *digest, uint64_t size) {
        _cleanup_close_ int fd = -EBADF;
        char name[CONTENT_NAME_MAX];
        struct stat st;

        if (!digest_is_valid(digest))
                return -EINVAL;
        content_name(digest, name);
        fd = openat(s->content_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return negative_errno();
        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode) || (size != UINT64_MAX && (uint64_t) st.st_size != size))
                return -EUCLEAN;
        return TAKE_FD(fd);
}

int image_store_remove_content(ImageStore *s, const char *digest) {
        char name[CONTENT_NAME_MAX];

        if (!digest_is_valid(digest))
                return -EINVAL;
        content_name(digest, name);
        if (unlinkat(s->content_fd, name, 0) < 0 && errno != ENOENT)
                return negative_errno();
        return 0;
}

static bool tagged(const ImageTag *tags, size_t n, const char *digest) {
        for (size_t i = 0; i < n; i++)
                if (streq(tags[i].digest, digest))
                        return true;
        return false;
}

int image_store_untagged(ImageStore *s, char ***ret) {
        _cleanup_strv_free_ char **digests = NULL;
        _cleanup_free_ ImageTag *tags = NULL;
        _cleanup_(closedirp) DIR *d = NULL;
        char digest[DIGEST_LENGTH + 1];
        unsigned broken;
        size_t n;
        int r;

        r = image_store_list(s, &tags, &n, &broken);
        if (r < 0)
                return r;
        if (broken > 0)
                return -EUCLEAN;
        r = open_directory(s->content_fd, &d);
        if (r < 0)
                return r;
        for (struct dirent *e; (e = readdir(d));)
                if (content_digest(e->d_name, digest) && !tagged(tags, n, digest)) {
                        r = strv_extend(&digests, digest);
                        if (r < 0)
                                return r;
                }
        *ret = TAKE_PTR(digests);
        return 0;
}
