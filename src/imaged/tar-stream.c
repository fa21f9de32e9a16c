/* SPDX-License-Identifier: Apache-2.0 */

/* Bytes to tar, see the header. Owned by an import. */

#include "imaged/tar-stream.h"

#include <archive_entry.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/gunzip.h"
#include "imaged/image-tree.h"
#include "imaged/sha256.h"

#define READ_SIZE (256u * 1024u)
#define TAR_BLOCK 512u
/* After the end of the archive: the padding of a record, but no second stream of unbounded length. */
#define TRAILER_MAX (64u * 1024u * 1024u)

struct TarStream {
        const TarInput *input;
        tar_stream_progress_t progress;
        void *userdata;

        char *buffer;
        size_t n_peeked;        /* in the buffer, and not yet given to anybody */
        uint64_t n_read;        /* of the input */
        Gunzip *gunzip;         /* undoes the compression, if it is gzip; else */
        struct archive *stream; /* this one */
        struct archive *tar;
        Sha256 *digest, *diff_id;
        bool stream_ended, last_block_zero, too_large;
        int read_error;
};

static int say(char **ret_why, int error, const char *sentence) {
        *ret_why = strdup(sentence);
        return *ret_why ? error : -ENOMEM;
}

static bool all_zero(const char *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (p[i])
                        return false;
        return true;
}

static ssize_t read_input(TarStream *s) {
        size_t n = READ_SIZE;

        if (!s->input->window)
                return read(s->input->fd, s->buffer, n);
        n = (size_t) MIN2((uint64_t) n, s->input->size - s->n_read);
        return pread(s->input->fd, s->buffer, n, (off_t) (s->input->offset + s->n_read));
}

static void hash(TarStream *s, Sha256 *sha256, const void *p, size_t n) {
        if (!sha256)
                return;
        if (s->input->hasher)
                hasher_write(s->input->hasher, sha256, p, n);
        else
                sha256_write(sha256, p, n);
}

/* Some more of it into the buffer. Whether the other side of a pipe made it non-blocking is not ours to
 * change. */
static ssize_t fill(TarStream *s) {
        for (;;) {
                ssize_t n = read_input(s);

                if (n >= 0) {
                        s->n_read += (uint64_t) n;
                        hash(s, s->digest, s->buffer, (size_t) n);
                        return n;
                }
                if (errno == EAGAIN)
                        (void) poll(&(struct pollfd){ .fd = s->input->fd, .events = POLLIN }, 1, -1);
                else if (errno != EINTR)
                        return s->read_error = negative_errno();
        }
}

/* The next piece of the input, whoever undoes its compression. */
static ssize_t next_input(void *userdata, const void **ret) {
        TarStream *s = userdata;
        ssize_t n = (ssize_t) s->n_peeked;

        s->n_peeked = 0;
        *ret = s->buffer;
        return n > 0 ? n : fill(s);
}

static la_ssize_t on_input(struct archive *a, void *userdata, const void **ret) {
        ssize_t n = next_input(userdata, ret);

        if (n < 0)
                archive_set_error(a, (int) -n, "%s", strerror((int) -n));
        return n < 0 ? -1 : n;
}

static int gunzip_piece(TarStream *s, const void **ret, size_t *ret_size) {
        ssize_t n = gunzip_next(s->gunzip, ret);

        if (n > 0) {
                *ret_size = (size_t) n;
                return ARCHIVE_OK;
        }
        if (n == 0)
                return ARCHIVE_EOF;
        if (n == -EBADMSG || n == -ENODATA)
                archive_set_error(s->stream, EBADMSG, "%s",
                                n == -ENODATA ? "truncated gzip input" : "damaged gzip input");
        else
                archive_set_error(s->stream, (int) -n, "%s", strerror((int) -n));
        return ARCHIVE_FATAL;
}

static int archive_piece(TarStream *s, const void **ret, size_t *ret_size) {
        la_int64_t offset;
        int r;

        do
                r = archive_read_data_block(s->stream, ret, ret_size, &offset);
        while (r == ARCHIVE_OK && *ret_size == 0);
        return r;
}

/* The next piece of the tar, not empty; ARCHIVE_EOF at the end. */
static int next_piece(TarStream *s, const void **ret, size_t *ret_size) {
        int r;

        r = s->gunzip ? gunzip_piece(s, ret, ret_size) : archive_piece(s, ret, ret_size);
        if (r == ARCHIVE_EOF)
                s->stream_ended = true;
        else if (r == ARCHIVE_OK) {
                uint64_t *budget = s->input->budget;

                if (budget && *ret_size > *budget) {
                        s->too_large = true;
                        return ARCHIVE_FATAL;
                }
                if (budget)
                        *budget -= *ret_size;
                hash(s, s->diff_id, *ret, *ret_size);
        }
        return r;
}

/* The outer reader's source. */
static la_ssize_t on_read(struct archive *a, void *userdata, const void **ret) {
        TarStream *s = userdata;
        size_t size;
        int r;

        r = next_piece(s, ret, &size);
        if (r == ARCHIVE_EOF)
                return 0;
        if (r != ARCHIVE_OK) {
                archive_set_error(a, archive_errno(s->stream), "%s",
                                strempty(archive_error_string(s->stream)));
                return -1;
        }
        s->last_block_zero =
                        size >= TAR_BLOCK && all_zero((const char *) *ret + size - TAR_BLOCK, TAR_BLOCK);
        if (s->progress)
                s->progress(s->n_read, s->userdata);
        return (la_ssize_t) size;
}

static int check_window(const TarInput *input, char **ret_why) {
        struct stat st;

        if (!input->window)
                return 0;
        if (fstat(input->fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode))
                return say(ret_why, -EBADMSG, "The blob is not a file.");
        if (input->offset > (uint64_t) st.st_size || input->size > (uint64_t) st.st_size - input->offset)
                return say(ret_why, -EBADMSG,
                                "The blob is shorter than it is said to be: it was cut short.");
        return 0;
}

/* No filters of those that libarchive leaves to programs. */
static int open_archive(TarStream *s, char **ret_why) {
        struct archive *a = s->stream;
        struct archive_entry *entry;

        if (archive_read_support_filter_bzip2(a) != ARCHIVE_OK ||
                        archive_read_support_filter_xz(a) != ARCHIVE_OK ||
                        archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
                        archive_read_support_filter_lz4(a) != ARCHIVE_OK ||
                        archive_read_support_format_raw(a) != ARCHIVE_OK ||
                        archive_read_support_format_empty(a) != ARCHIVE_OK ||
                        archive_read_open(a, s, NULL, on_input, NULL) != ARCHIVE_OK)
                return tar_stream_error(s, ret_why);
        switch (archive_read_next_header(a, &entry)) {
        case ARCHIVE_OK:
                return 0;
        case ARCHIVE_EOF: /* something compressed, of nothing */
                s->stream_ended = true;
                return 0;
        default:
                return tar_stream_error(s, ret_why);
        }
}

static int open_stream(TarStream *s, char **ret_why) {
        ssize_t n;

        n = fill(s);
        if (n < 0) {
                archive_set_error(s->stream, (int) -n, "%s", strerror((int) -n));
                return tar_stream_error(s, ret_why);
        }
        s->n_peeked = (size_t) n;
        s->stream_ended = n == 0;
        if (gunzip_is_gzip(s->buffer, s->n_peeked))
                return gunzip_new(next_input, s, &s->gunzip);
        return n > 0 ? open_archive(s, ret_why) : 0;
}

static int open_tar(TarStream *s, char **ret_why) {
        s->tar = archive_read_new();
        if (!s->tar)
                return -ENOMEM;
        if (archive_read_support_format_tar(s->tar) != ARCHIVE_OK ||
                        archive_read_open(s->tar, s, NULL, on_read, NULL) != ARCHIVE_OK)
                return tar_stream_error(s, ret_why);
        return 0;
}

int tar_stream_open(const TarInput *input, tar_stream_progress_t progress, void *userdata, TarStream **ret,
                char **ret_why) {
        _cleanup_(tar_stream_freep) TarStream *s = NULL;
        int r;

        *ret_why = NULL;
        r = check_window(input, ret_why);
        if (r < 0)
                return r;
        s = new (TarStream, 1);
        if (!s)
                return -ENOMEM;
        *s = (TarStream){ .input = input, .progress = progress, .userdata = userdata };
        s->buffer = new (char, READ_SIZE);
        s->stream = archive_read_new();
        if (!s->buffer || !s->stream)
                return -ENOMEM;
        r = input->digest ? sha256_new(&s->digest) : 0;
        if (r >= 0 && input->diff_id)
                r = sha256_new(&s->diff_id);
        if (r >= 0)
                r = open_stream(s, ret_why);
        if (r >= 0 && s->stream_ended && !s->diff_id)
                r = say(ret_why, -EBADMSG, "The archive is empty.");
        if (r >= 0 && !s->stream_ended)
                r = open_tar(s, ret_why);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

TarStream *tar_stream_free(TarStream *s) {
        if (!s)
                return NULL;
        if (s->tar)
                (void) archive_read_free(s->tar);
        if (s->stream)
                (void) archive_read_free(s->stream);
        gunzip_free(s->gunzip);
        if (s->input->hasher)
                hasher_sync(s->input->hasher);
        sha256_free(s->digest);
        sha256_free(s->diff_id);
        free(s->buffer);
        return mfree(s);
}

struct archive *tar_stream_archive(TarStream *s) {
        return s->tar;
}

/* Reads what is left of the input, which is not part of the archive. */
static int drain_input(TarStream *s) {
        ssize_t n;

        do
                n = fill(s);
        while (n > 0);
        return (int) n;
}

static bool is_digest(TarStream *s, Sha256 *sha256, const char *digest) {
        char hex[SHA256_HEX_LENGTH + 1];
        const char *expected = startswith(digest, "sha256:");

        if (s->input->hasher)
                hasher_sync(s->input->hasher);
        sha256_read(sha256, hex);
        return expected && streq(hex, expected);
}

/* To be called once. */
static int check_digest(TarStream *s, char **ret_why) {
        int r;

        if (!s->digest)
                return 0;
        r = drain_input(s);
        if (r < 0)
                return r;
        if (s->n_read != s->input->size)
                return say(ret_why, -EBADMSG,
                                "The blob is shorter than it is said to be: it was cut short.");
        if (!is_digest(s, s->digest, s->input->digest))
                return say(ret_why, -EBADMSG, "The blob is not the one that its digest names.");
        return 0;
}

/* libarchive's sentence, made safe for a line: it may quote the archive. Where there is a digest, it
 * explains more. */
int tar_stream_error(TarStream *s, char **ret_why) {
        _cleanup_free_ char *quoted = NULL;
        const char *text;
        int r;

        if (s->too_large)
                return say(ret_why, -EDQUOT, "The archive holds more than all the files of an image may have.");
        if (archive_errno(s->stream) == ENOMEM || (s->tar && archive_errno(s->tar) == ENOMEM))
                return -ENOMEM;
        text = archive_error_string(s->stream) ?: s->tar ? archive_error_string(s->tar) : NULL;
        quoted = isempty(text) ? NULL : name_quote(text);
        r = s->read_error < 0 ? 0 : check_digest(s, ret_why);
        if (r < 0)
                return r;
        if (isempty(text)) /* a gzip trailer that is not there */
                return say(ret_why, -EBADMSG, "The archive cannot be read: it is damaged or cut short.");
        *ret_why = quoted ? strprintf("The archive cannot be read: %s.", quoted) : NULL;
        return *ret_why ? -EBADMSG : -ENOMEM;
}

/* The tar reader is satisfied; is the stream? */
static int read_trailer(TarStream *s, char **ret_why) {
        uint64_t n = 0;

        while (!s->stream_ended) {
                const void *piece;
                size_t size;
                int r;

                r = next_piece(s, &piece, &size);
                if (r == ARCHIVE_EOF)
                        break;
                if (r != ARCHIVE_OK)
                        return tar_stream_error(s, ret_why);
                n += size;
                if (n > TRAILER_MAX)
                        return say(ret_why, -EBADMSG, "The archive is followed by something else.");
        }
        return 0;
}

int tar_stream_finish(TarStream *s, char **ret_why) {
        bool ended = s->stream_ended;
        int r;

        *ret_why = NULL;
        r = read_trailer(s, ret_why);
        if (r >= 0)
                r = check_digest(s, ret_why);
        if (r < 0)
                return r;
        if (s->diff_id && !is_digest(s, s->diff_id, s->input->diff_id))
                return say(ret_why, -EBADMSG,
                                "The layer is not the one that the configuration names (diff_id).");
        /* Without a checksum, blocks of zeros at the end are all there is to tell. */
        if (!s->diff_id && !s->digest && ended && !s->last_block_zero)
                return say(ret_why, -EBADMSG, "The archive has no end: it was cut short.");
        return 0;
}
