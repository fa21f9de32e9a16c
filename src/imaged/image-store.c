/* SPDX-License-Identifier: Apache-2.0 */

/* The image store, see the header. Owned by hero-imaged. */

#include "imaged/image-store.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

#define TAG_VERSION 2
#define TAG_FILE_MAX 4096u
#define CONTENT_SUFFIX ".squashfs"
#define RECORD_SUFFIX ".json"
#define HEX_NAME_MAX (DIGEST_HEX_LENGTH + sizeof(CONTENT_SUFFIX))
/* Of any temporary file, ours and write_file_atomic()'s. */
#define TEMPORARY_PREFIX ".#"

struct ImageStore {
        int lock_fd, content_fd, images_fd, tags_fd;
};

static void hex_name(const char *digest, const char *suffix, char buf[static HEX_NAME_MAX]) {
        (void) snprintf(buf, HEX_NAME_MAX, "%.*s%s", (int) DIGEST_HEX_LENGTH, digest + strlen(DIGEST_PREFIX), suffix);
}

/* The other way; false when the file is not one of these. */
static bool hex_digest(const char *name, const char *suffix, char buf[static DIGEST_LENGTH + 1]) {
        if (strlen(name) != DIGEST_HEX_LENGTH + strlen(suffix) || !streq(name + DIGEST_HEX_LENGTH, suffix))
                return false;
        (void) snprintf(buf, DIGEST_LENGTH + 1, DIGEST_PREFIX "%.*s", (int) DIGEST_HEX_LENGTH, name);
        return digest_is_valid(buf);
}

static int remove_temporaries(int dir_fd) {
        _cleanup_closedir_ DIR *d = NULL;
        int r;

        r = open_directory_stream(dir_fd, ".", &d);
        if (r < 0)
                return r;
        for (struct dirent *e; (e = readdir(d));)
                if (startswith(e->d_name, TEMPORARY_PREFIX) && unlinkat(dir_fd, e->d_name, 0) < 0)
                        return negative_errno();
        return 0;
}

static const struct {
        const char *name;
        size_t offset;
} directories[] = {
        { "content", offsetof(ImageStore, content_fd) },
        { "images", offsetof(ImageStore, images_fd) },
        { "tags", offsetof(ImageStore, tags_fd) },
};

int image_store_open(const char *path, ImageStore **ret) {
        _cleanup_(image_store_freep) ImageStore *s = NULL;
        int r = 0;

        s = new(ImageStore, 1);
        if (!s)
                return -ENOMEM;
        *s = (ImageStore) { .lock_fd = -EBADF, .content_fd = -EBADF, .images_fd = -EBADF, .tags_fd = -EBADF };
        s->lock_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->lock_fd < 0)
                return negative_errno();
        if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : negative_errno();
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(directories); i++) {
                int *fd = (int *) (void *) ((char *) s + directories[i].offset);

                r = *fd = open_directory_at(s->lock_fd, directories[i].name, 0700, true);
                if (r >= 0)
                        r = remove_temporaries(*fd);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

ImageStore *image_store_free(ImageStore *s) {
        if (!s)
                return NULL;
        safe_close(s->content_fd);
        safe_close(s->images_fd);
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

int image_store_scratch(ImageStore *s, StoreFile *ret) {
        int r;

        r = image_store_create(s, ret);
        /* Nobody else is to see it, not even until a crash. */
        if (r >= 0 && ret->temporary) {
                (void) unlinkat(s->content_fd, ret->temporary, 0);
                ret->temporary = mfree(ret->temporary);
        }
        return r;
}

void image_store_discard(ImageStore *s, StoreFile *f) {
        f->fd = safe_close(f->fd);
        if (f->temporary)
                (void) unlinkat(s->content_fd, f->temporary, 0);
        f->temporary = mfree(f->temporary);
}

/* Is the one that has the name already of another size than this? */
static bool is_damaged(ImageStore *s, const char *digest, int good_fd) {
        struct stat st;
        int fd;

        if (fstat(good_fd, &st) < 0)
                return false;
        fd = image_store_open_content(s, digest, (uint64_t) st.st_size);
        safe_close(fd);
        return fd == -EUCLEAN;
}

int image_store_commit(ImageStore *s, StoreFile *f, const char *digest) {
        char name[HEX_NAME_MAX];
        int r;

        if (!digest_is_valid(digest))
                return -EINVAL;
        hex_name(digest, CONTENT_SUFFIX, name);
        r = tmpfile_link(f->fd, f->temporary, s->content_fd, name);
        if (r == -EEXIST && is_damaged(s, digest, f->fd) && unlinkat(s->content_fd, name, 0) >= 0)
                r = tmpfile_link(f->fd, f->temporary, s->content_fd, name);
        if (r >= 0)
                f->temporary = mfree(f->temporary);
        if (r >= 0 && fsync(s->content_fd) < 0)
                r = negative_errno();
        image_store_discard(s, f);
        return r == -EEXIST ? 0 : r;
}

int image_store_open_content(ImageStore *s, const char *digest, uint64_t size) {
        _cleanup_close_ int fd = -EBADF;
        char name[HEX_NAME_MAX];
        struct stat st;

        if (!digest_is_valid(digest))
                return -EINVAL;
        hex_name(digest, CONTENT_SUFFIX, name);
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
        char name[HEX_NAME_MAX];

        if (!digest_is_valid(digest))
                return -EINVAL;
        hex_name(digest, CONTENT_SUFFIX, name);
        if (unlinkat(s->content_fd, name, 0) < 0 && errno != ENOENT)
                return negative_errno();
        return 0;
}

int image_store_write_record(ImageStore *s, const ImageRecord *record) {
        char name[HEX_NAME_MAX], content[HEX_NAME_MAX];
        _cleanup_free_ char *text = NULL;

        if (!digest_is_valid(record->digest) || !digest_is_valid(record->content))
                return -EINVAL;
        hex_name(record->content, CONTENT_SUFFIX, content);
        if (faccessat(s->content_fd, content, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return negative_errno();
        hex_name(record->digest, RECORD_SUFFIX, name);
        text = image_record_format(record);
        if (!text)
                return -ENOMEM;
        return write_file_atomic(s->images_fd, name, text, strlen(text), 0600);
}

int image_store_read_record(ImageStore *s, const char *digest, ImageRecord *ret) {
        _cleanup_free_ char *text = NULL;
        char name[HEX_NAME_MAX];
        size_t n;
        int r;

        if (!digest_is_valid(digest))
                return -EINVAL;
        hex_name(digest, RECORD_SUFFIX, name);
        r = read_full_file(s->images_fd, name, RECORD_FILE_MAX, &text, &n);
        if (r < 0)
                return r == -E2BIG ? -EUCLEAN : r;
        return image_record_parse(text, n, digest, ret);
}

int image_store_remove_record(ImageStore *s, const char *digest) {
        char name[HEX_NAME_MAX];

        if (!digest_is_valid(digest))
                return -EINVAL;
        hex_name(digest, RECORD_SUFFIX, name);
        if (unlinkat(s->images_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : negative_errno();
        return fsync(s->images_fd) < 0 ? negative_errno() : 0;
}

int image_store_tag(ImageStore *s, const char *reference, const char *digest) {
        _cleanup_(json_decrefp) json_t *j = NULL;
        char file[REFERENCE_MAX + 1], record[HEX_NAME_MAX];
        _cleanup_free_ char *text = NULL;

        if (!digest_is_valid(digest))
                return -EINVAL;
        hex_name(digest, RECORD_SUFFIX, record);
        if (faccessat(s->images_fd, record, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return negative_errno();
        j = json_pack("{si ss}", "version", TAG_VERSION, "digest", digest);
        text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
        if (!text)
                return -ENOMEM;
        reference_to_filename(reference, file);
        return write_file_atomic(s->tags_fd, file, text, strlen(text), 0600);
}

int image_store_untag(ImageStore *s, const char *reference) {
        char file[REFERENCE_MAX + 1];

        reference_to_filename(reference, file);
        if (unlinkat(s->tags_fd, file, 0) < 0 || fsync(s->tags_fd) < 0)
                return negative_errno();
        return 0;
}

int image_store_resolve(ImageStore *s, const char *reference, char digest[static DIGEST_LENGTH + 1]) {
        _cleanup_(json_decrefp) json_t *j = NULL;
        char file[REFERENCE_MAX + 1];
        _cleanup_free_ char *text = NULL;
        json_int_t version;
        const char *d;
        size_t n;
        int r;

        reference_to_filename(reference, file);
        r = read_full_file(s->tags_fd, file, TAG_FILE_MAX, &text, &n);
        if (r < 0)
                return r == -E2BIG ? -EUCLEAN : r;
        j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
        if (!j || json_unpack(j, "{sI ss}", "version", &version, "digest", &d) < 0 || version != TAG_VERSION ||
            !digest_is_valid(d))
                return -EUCLEAN;
        strcpy(digest, d);
        return 0;
}

/* name() makes of a file's name what it stands for; false: it is none. */
static int list(int dir_fd, bool (*name)(const char *file, char *buf), char ***ret, unsigned *ret_foreign) {
        _cleanup_strv_free_ char **l = NULL;
        _cleanup_closedir_ DIR *d = NULL;
        char buf[REFERENCE_MAX + 1];
        unsigned foreign = 0;
        int r;

        r = open_directory_stream(dir_fd, ".", &d);
        if (r < 0)
                return r;
        for (struct dirent *e; (e = readdir(d));) {
                if (e->d_name[0] == '.')
                        continue;
                if (!name(e->d_name, buf))
                        foreign++;
                else if (strv_extend(&l, buf) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(l);
        if (ret_foreign)
                *ret_foreign = foreign;
        return 0;
}

static bool content_of_file(const char *file, char *buf) {
        return hex_digest(file, CONTENT_SUFFIX, buf);
}

static bool record_of_file(const char *file, char *buf) {
        return hex_digest(file, RECORD_SUFFIX, buf);
}

static bool tag_of_file(const char *file, char *buf) {
        return reference_from_filename(file, buf) >= 0;
}

int image_store_list_contents(ImageStore *s, char ***ret) {
        return list(s->content_fd, content_of_file, ret, NULL);
}

int image_store_list_records(ImageStore *s, char ***ret) {
        return list(s->images_fd, record_of_file, ret, NULL);
}

int image_store_list_tags(ImageStore *s, char ***ret, unsigned *ret_foreign) {
        return list(s->tags_fd, tag_of_file, ret, ret_foreign);
}

int image_store_free_space(ImageStore *s, uint64_t *ret) {
        struct statvfs v;

        if (fstatvfs(s->content_fd, &v) < 0)
                return negative_errno();
        *ret = (uint64_t) v.f_bavail * v.f_frsize;
        return 0;
}
